/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_DATA_DISK_H
#define INSTANCE_DATA_DISK_H

/*
 * Data disks: a file in the instance's folder that is its own, copied from the revision's empty one
 * or, for a clone, from the one that was frozen with its snapshot.  It goes with the instance.
 */

#include "base/error.h"

/* Its name in revisions, in snapshots and in instances. */
#define DATA_DISK_NAME "data.ext4"

/* Copy the disk at from_fd into an instance's folder.  Returns 1 if its blocks are shared until one
 * of the two is written, 0 if it was copied, holes as holes. */
int data_disk_copy(int from_fd, int instance_fd, struct mvm_error *err);

/* Copy an instance's disk, which nobody may be writing to, into a snapshot's folder, and have it on
 * disk. */
int data_disk_capture(int instance_fd, int snapshot_fd, struct mvm_error *err);

#endif
