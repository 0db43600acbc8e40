/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_UID_H
#define VMM_UID_H

/*
 * When root runs mvm, each VMM process has a uid and gid that no other process has.  So code that
 * breaks out of a guest cannot reach other VMs, mvm or the host's files.
 *
 * Calling sequence: own_uid_obstacle, own_uid_take, own_uid_give for each file that the process
 * will write, own_uid_become in the child, own_uid_tie; own_uid_take_back and own_uid_done after
 * its end.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "base/own.h"

struct own_uid {
	uid_t uid; /* the gid is the same number */
	int fd;	   /* holds the lock on the uid; -1: no uid, and the process runs as the caller */
	int life_fds[2];
};
#define OWN_UID_NONE                                                                               \
	{                                                                                          \
		.fd = -1, .life_fds = { -1, -1 }                                                   \
	}

/* Why the caller cannot start and kill processes of another user; NULL: it can.  Static. */
const char *own_uid_obstacle(void);

/* Take a uid (vmm/uid_lock.h), as root.  The kernel frees it when the caller ends.  *ret is
 * OWN_UID_NONE and stays so after a failure. */
int own_uid_take(struct own_uid *ret);
void own_uid_done(struct own_uid *u);

/*
 * Find the group that may use a device.
 *
 * Returns 1 with the group, 0 when everybody may use it, -EACCES when only root may, -errno of
 * stat(2).
 */
int own_uid_device_group(const char *path, gid_t *ret);

/* Give a file to the uid, and back to root.  fd may be O_PATH.  A failure to take it back does no
 * harm: root may do everything with the file, and nobody else can reach its folder. */
int own_uid_give(const struct own_uid *u, int fd);
void own_uid_take_back(int fd);

/*
 * In the child: become that user, without privileges that exec could bring back.  Makes only system
 * calls.  The kernel clears PR_SET_PDEATHSIG here, so the child sets it later.
 *
 *   group       one further group; 0: none
 *   bind_ports  keep the right to bind ports below 1024, if the caller has it
 */
int own_uid_become(const struct own_uid *u, gid_t group, bool bind_ports);

/*
 * Have the kernel kill the process when the caller ends, however that happens.  So the process is
 * gone before its uid is free again.  PR_SET_PDEATHSIG is not enough: the kernel clears it when a
 * process changes its uid, and code that broke out of a guest could clear it.  Only the caller can
 * redirect the O_ASYNC signal of a descriptor.
 *
 * Returns 0 or -errno of fcntl(2).
 */
int own_uid_tie(const struct own_uid *u, pid_t pid);

#endif
