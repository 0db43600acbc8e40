/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_FIRECRACKER_JAIL_H
#define VMM_FIRECRACKER_JAIL_H

/*
 * Firecracker's jailer.  If root runs mvm and the jailer lies beside Firecracker, each VM's
 * Firecracker gets a root folder of its own, a uid and gid that nobody else has, and no privileges.
 *
 * The jailer expects the root folder at "<exec file>/<id>/root" below the VM's working folder.
 * Each host file that Firecracker needs is bind-mounted there alone, read-only where possible, in a
 * mount namespace of the jailer and Firecracker.  So nothing is copied, no link count changes, and
 * the kernel unmounts the files with the process.
 *
 * Source: Firecracker's docs/jailer.md, release 1.16.1.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/own.h"
#include "base/process.h"
#include "base/str.h"
#include "vmm/uid.h"

#define FC_JAILER_ENV "MVM_JAILER"

#define FC_JAIL_FILES_MAX 8u

/* A host file that Firecracker sees. */
struct fc_jail_file {
	int dir_fd;  /* its folder; borrowed, and only compared */
	int tree_fd; /* its mount, not attached yet */
	int file_fd; /* the file, if it belongs to the jail's user for now; else -1 */
	char name[64];
};

struct fc_jail {
	char *jailer; /* path of the jailer; NULL: no jail */
	struct own_uid user;
	int root_fd; /* borrowed: the root folder */
	struct fc_jail_file files[FC_JAIL_FILES_MAX];
	size_t n_files;
};
#define FC_JAIL_NONE                                                                               \
	{                                                                                          \
		.user = OWN_UID_NONE, .root_fd = -1                                                \
	}

/*
 * Find the jailer of a Firecracker: MVM_JAILER if set ("" and "none" mean no jailer), else
 * "jailer..." beside "firecracker...".  Pure, except that it checks that the file exists.
 *
 *   binary  Firecracker's absolute path
 *   ret     the caller's
 *
 * Returns 1, 0 (no jailer), -ENOENT (MVM_JAILER names a missing file), -ENOMEM.
 */
int fc_jailer_find(const char *binary, char **ret);

/* Why no jail is possible here; NULL: it is.  Static.  dir_fd: the parent of its folder. */
const char *fc_jail_obstacle(const char *binary, int dir_fd);

/*
 * Does mvm refuse Firecracker to root?  Without its jailer it would run as root, and so would a
 * guest that breaks out of it.  With MVM_JAILER=none root allows that.
 *
 *   dir_fd   as above
 *   ret_why  the reason, with the remedy; the caller's; set when the result is 1
 *
 * Returns 1, 0 (there is a jail, this is not root, or root allows it) or -ENOMEM.
 */
int fc_jail_refuses(const char *binary, int dir_fd, char **ret_why);

/* Prepare a jail: take a uid.  *jail is FC_JAIL_NONE; fc_jail_done() it, also after a failure.
 * jailer is copied. */
int fc_jail_open(struct fc_jail *jail, const char *jailer, struct mvm_error *err);
void fc_jail_done(struct fc_jail *jail);

/* The root folder's path, as in "firecracker/web/root".  The caller's; NULL: out of memory. */
char *fc_jail_root(const char *binary, const char *id);

/* The jailer's argument vector; the caller adds Firecracker's own arguments.  Pure. */
void fc_jail_args(const struct fc_jail *jail, const char *binary, const char *id, struct strv *ret);

enum fc_jail_access {
	FC_JAIL_READ,
	FC_JAIL_WRITE, /* the file belongs to the jail's user until fc_jail_give_back() */
};

/* Show Firecracker a file under a name in root_fd, which is created.  A missing file stays missing;
 * Firecracker then reports it.  -EEXIST when another file has the name. */
int fc_jail_add(struct fc_jail *jail, int dir_fd, const char *file, const char *name,
		enum fc_jail_access access, struct mvm_error *err);

/* Give a file that mvm made in root_fd to the jail's user. */
int fc_jail_own(const struct fc_jail *jail, const char *name);

/* Give the files that Firecracker wrote back to root. */
void fc_jail_give_back(struct fc_jail *jail);

/* For process_spec.in_child; arg is the jail.  The working folder is the one that holds
 * fc_jail_root() then. */
int fc_jail_enter(void *arg);

#endif
