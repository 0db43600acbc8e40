/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_UID_H
#define VMM_UID_H

/*
 * Run by root, a VMM process runs as a uid and gid that no other has: what breaks out of a guest
 * can do nothing to other VMs, to mvm or to the host's files.
 *
 * Calling sequence: own_uid_obstacle, own_uid_take, own_uid_give for what the process shall write,
 * own_uid_become in the child, own_uid_tie; own_uid_take_back and own_uid_done after its end.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "base/own.h"

struct own_uid {
	uid_t uid; /* the gid is the same number */
	int fd;	   /* keeps it ours; -1: there is none, and the process runs as we do */
	int life_fds[2];
};
#define OWN_UID_NONE                                                                               \
	{                                                                                          \
		.fd = -1, .life_fds = { -1, -1 }                                                   \
	}

/* Why we cannot start processes as other users and look after them; NULL if we can.  Static. */
const char *own_uid_obstacle(void);

/* Take one (vmm/uid_lock.h), as root.  The kernel frees it with us.  *ret is OWN_UID_NONE and stays
 * so after a failure. */
int own_uid_take(struct own_uid *ret);
void own_uid_done(struct own_uid *u);

/*
 * By which group may others than root use a device?
 *
 * Returns 1 with the group, 0 when everybody may, -EACCES when only root may, -errno of stat(2).
 */
int own_uid_device_group(const char *path, gid_t *ret);

/* The file becomes the process's, and root's again.  fd may be O_PATH.  Taking back is best effort:
 * root may do all with it, and nobody else gets to its folder. */
int own_uid_give(const struct own_uid *u, int fd);
void own_uid_take_back(int fd);

/*
 * In the child: be that user from now on, with no privileges that exec could bring back.  Only
 * system calls.  The kernel forgets PR_SET_PDEATHSIG here, so that comes later.
 *
 *   group       the one further group; 0: none
 *   bind_ports  keep the right to bind ports below 1024, if we have it
 */
int own_uid_become(const struct own_uid *u, gid_t group, bool bind_ports);

/*
 * Kill the process when we end, however that happens, so that none is left when its uid becomes
 * another's.  PR_SET_PDEATHSIG is not enough: the kernel forgets it when a process changes its uid,
 * and what broke out of a guest could clear it.  Nobody but us can change whom a descriptor's
 * O_ASYNC signal goes to.
 *
 * Returns 0 or -errno of fcntl(2).
 */
int own_uid_tie(const struct own_uid *u, pid_t pid);

#endif
