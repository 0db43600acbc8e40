/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_FIRECRACKER_JAIL_H
#define VMM_FIRECRACKER_JAIL_H

/*
 * Firecracker's jailer: where mvm runs as root and the jailer lies beside Firecracker, each VM's
 * Firecracker gets a root folder of its own, a uid and gid that nobody else has, and no privileges.
 *
 * The root folder is "<exec file>/<id>/root" below the VM's working folder, as the jailer wants it.
 * What Firecracker needs of the host's files is bind-mounted there, each file alone and read-only
 * where it may be, in a mount namespace that only the jailer and Firecracker are in: nothing is
 * copied, no link count changes, and the kernel unmounts it with the process.
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

/* A file of the host's that Firecracker sees. */
struct fc_jail_file {
	int dir_fd;  /* where it is from; borrowed, and only compared */
	int tree_fd; /* a mount that is nowhere yet */
	int file_fd; /* of one that belongs to the jail's user for now; else -1 */
	char name[64];
};

struct fc_jail {
	char *jailer; /* NULL: there is no jail */
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
 * The jailer that belongs to a Firecracker: MVM_JAILER if set ("" and "none": there is none), else
 * "jailer..." beside "firecracker...".  Pure but for the look whether it is there.
 *
 *   binary  Firecracker's absolute path
 *   ret     the caller's
 *
 * Returns 1, 0 (none), -ENOENT (MVM_JAILER names one that is not there), -ENOMEM.
 */
int fc_jailer_find(const char *binary, char **ret);

/* Why a jail cannot be used here; NULL if it can.  Static.  dir_fd: where its folder would be. */
const char *fc_jail_obstacle(const char *binary, int dir_fd);

/* Prepare one: take a uid.  *jail is FC_JAIL_NONE and to be done also after a failure.
 * jailer is copied. */
int fc_jail_open(struct fc_jail *jail, const char *jailer, struct mvm_error *err);
void fc_jail_done(struct fc_jail *jail);

/* "firecracker/web/root": where the root folder is.  The caller's; NULL without memory. */
char *fc_jail_root(const char *binary, const char *id);

/* The jailer's argument vector but for Firecracker's own arguments, which follow.  Pure. */
void fc_jail_args(const struct fc_jail *jail, const char *binary, const char *id, struct strv *ret);

enum fc_jail_access {
	FC_JAIL_READ,
	FC_JAIL_WRITE, /* it becomes the jail's user's, until fc_jail_give_back() */
};

/* Let Firecracker see a file under a name of its own, which is created in root_fd.  One that is
 * missing stays missing, for Firecracker to say so.  -EEXIST when the name is another file's. */
int fc_jail_add(struct fc_jail *jail, int dir_fd, const char *file, const char *name,
		enum fc_jail_access access, struct mvm_error *err);

/* Let Firecracker use what we have made in root_fd. */
int fc_jail_own(const struct fc_jail *jail, const char *name);

/* Files that Firecracker wrote belong to us again. */
void fc_jail_give_back(struct fc_jail *jail);

/* For process_spec.in_child; arg is the jail. */
int fc_jail_enter(void *arg);

#endif
