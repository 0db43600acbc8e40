/* SPDX-License-Identifier: Apache-2.0 */
#ifndef START_DATA_DISK_H
#define START_DATA_DISK_H

/* A template's data disk: the empty disk of a revision, and the disk that a start copies. */

#include <mvm/digest.h>

#include "start/start.h"

/* Check the size of a template's disk.  0 MiB, for no disk, is valid.  -EINVAL. */
int data_disk_check(uint32_t size_mib, struct mvm_error *err);

/*
 * Find the blob of an empty disk of a size, or make it.  The same size gives the same bytes, so the
 * store remembers the digest, and a second build costs nothing.
 */
int data_disk_blob(struct store *s, uint32_t size_mib, struct mvm_digest *ret,
		   struct mvm_error *err);

/*
 * Open the disk that an instance gets a copy of.
 *
 *   restore  true: the disk captured with the snapshot; false: the empty disk
 *
 * Returns a descriptor; -1 without an error when the revision has no disk.
 */
int data_disk_open(const struct revision *r, bool restore, struct mvm_error *err);

/* The identity of the captured disk, as memory_file_identity() gives it. */
int data_disk_identity(int snapshot_fd, char **ret, struct mvm_error *err);

#endif
