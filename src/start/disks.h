/* SPDX-License-Identifier: Apache-2.0 */
#ifndef START_DISKS_H
#define START_DISKS_H

/* A VM's own disks: their sizes, and the files that a start copies for them. */

#include <mvm/digest.h>

#include "instance/own_disk.h"
#include "start/start.h"

/* Check the sizes of a template's disks.  0 MiB, for no disk, is valid.  -EINVAL. */
int disks_check(uint32_t data_mib, uint32_t root_mib, struct mvm_error *err);

/* Read the disks' sizes of a revision. */
void disks_of(const struct mvm_template_revision *rev, uint32_t ret[OWN_DISKS]);

/*
 * Find the blob of an empty data disk of a size, or make it.  The same size gives the same bytes,
 * so the store remembers the digest, and a second build costs nothing.
 */
int data_disk_blob(struct store *s, uint32_t size_mib, struct mvm_digest *ret,
		   struct mvm_error *err);

/* Descriptors of disks; -1: no such disk. */
struct disk_fds {
	int fd[OWN_DISKS];
};
#define DISK_FDS_NONE                                                                              \
	{                                                                                          \
		.fd = { -1, -1 }                                                                   \
	}
void disk_fds_done(struct disk_fds *f);
DEFINE_AUTO_DONE(disk_fds, disk_fds_done)

/*
 * Open the disks that an instance gets copies of.
 *
 *   mib      sizes; 0: no such disk
 *   restore  true: the disks captured with the snapshot; false: empty ones.  The data disk is the
 *            revision's; the root disk is formatted here, in a millisecond, so that a start can
 *            choose its size and no build has to hash it
 *   ret      unchanged after a failure
 */
int disks_open(const struct revision *r, const uint32_t mib[OWN_DISKS], bool restore,
	       struct disk_fds *ret, struct mvm_error *err);

/* The identity of a captured disk, as memory_file_identity() gives it. */
int disk_identity(enum own_disk disk, int snapshot_fd, char **ret, struct mvm_error *err);

#endif
