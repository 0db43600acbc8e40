/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_USER_H
#define GUEST_USER_H

/* A process's user, looked up in the guest's /etc/passwd and /etc/group.  A static program
 * has no NSS, so only these files count. */

#include <sys/types.h>

#include <mvm/error.h>

#define USER_GROUPS_MAX 64

struct user {
	uid_t uid;
	gid_t gid;
	gid_t groups[USER_GROUPS_MAX];
	size_t n_groups;
	char home[256];
	char name[64]; /* "" when the uid has no name */
};

/*
 * Look up "name", "uid", "name:group" or "uid:gid".  Without the part before the colon it is root,
 * without the part behind it the groups are the user's own.  A number is never a name.
 *
 *   passwd, group  text of the two files; "" when there is none
 *   spec           NULL or "": root
 *   ret            home is "/" for a uid without an entry
 *
 * Returns 0, or -EINVAL with a sentence when there is no such user or group.  Supplementary
 * groups over USER_GROUPS_MAX are left out.
 * Source: moby/sys/user, GetExecUser.
 */
int user_parse(const char *passwd, const char *group, const char *spec, struct user *ret,
	       struct mvm_error *err);

/* Look up a user as user_parse() does, in this system's files.  The last look-up is remembered for
 * as long as neither file changes, so a clone's first command reads neither. */
int user_find(const char *spec, struct user *ret, struct mvm_error *err);

#endif
