/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_OWN_DISK_H
#define INSTANCE_OWN_DISK_H

/*
 * Disks of a VM's own.  Each instance has its own file in its folder, copied from an empty disk or,
 * for a clone, from the disk that was captured with the snapshot.  It is removed with the instance.
 */

#include <stdbool.h>

#include "base/error.h"
#include "base/file.h"
#include "vmm/vmm.h"

/* In the order of the guest's devices. */
enum own_disk {
	OWN_DISK_DATA, /* mounted at /data */
	OWN_DISK_ROOT, /* has the upper layer of the root's overlay, which else lies in memory */
	OWN_DISKS,
};

struct own_disk_kind {
	const char *file;     /* its name in revisions, snapshots and instances */
	const char *captured; /* the same in a revision's folder */
	const char *label;    /* of its file system */
	const char *what;     /* "data disk" */
	const char *option;   /* of the kernel's command line, for its device */
};
extern const struct own_disk_kind own_disks[OWN_DISKS];

/*
 * The root image of a snapshot that was made of a running VM's memory.  Its clones go on with the
 * image that this VM had mounted, not with the revision's, which has the VM's changes.
 */
#define SNAPSHOT_IMAGE "rootfs.ext4"
#define OWN_IMAGE_PATH "snapshot/" SNAPSHOT_IMAGE

/* Add the drives of the disks that have a size. */
void own_disks_attach(const uint32_t mib[OWN_DISKS], struct vmm_config *c);

/* Copy the disk at from_fd into an instance's folder.  Returns 1 if the copy shares its blocks
 * (reflink), 0 if the blocks were copied, holes as holes. */
int own_disk_copy(enum own_disk disk, int from_fd, int instance_fd, struct mvm_error *err);

/*
 * Copy the disks of an instance into another folder, in parts, for a caller that does other work
 * between them: about 32 MiB at each call.  Nobody may write them meanwhile.
 *
 *   has  which disks the instance has
 *
 * Returns 0 when all are copied, 1 when there is more, or -errno.  own_disks_copying_done() may
 * come at any time.
 */
struct own_disks_copying {
	unsigned disk;	    /* enum own_disk */
	int from_fd, to_fd; /* of that disk; -1: its copy was not begun */
	struct file_copying file;
};
#define OWN_DISKS_COPYING_NONE                                                                     \
	{                                                                                          \
		.from_fd = -1, .to_fd = -1                                                         \
	}
void own_disks_copying_done(struct own_disks_copying *c);
int own_disks_copy_some(struct own_disks_copying *c, const bool has[OWN_DISKS], int from_dir_fd,
			int to_dir_fd, struct mvm_error *err);

/* Copy an instance's disk into a snapshot's folder and sync it.  Nobody may write it meanwhile. */
int own_disk_capture(enum own_disk disk, int instance_fd, int snapshot_fd, struct mvm_error *err);

#endif
