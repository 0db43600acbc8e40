/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_DATA_DISK_H
#define INSTANCE_DATA_DISK_H

/*
 * Data disks.  Each instance has its own file in its folder, copied from the revision's empty disk
 * or, for a clone, from the disk that was captured with the snapshot.  It is removed with the
 * instance.
 */

#include "base/error.h"

/* Its name in revisions, in snapshots and in instances. */
#define DATA_DISK_NAME "data.ext4"

/* Copy the disk at from_fd into an instance's folder.  Returns 1 if the copy shares its blocks
 * (reflink), 0 if the blocks were copied, holes as holes. */
int data_disk_copy(int from_fd, int instance_fd, struct mvm_error *err);

/* Copy an instance's disk into a snapshot's folder and sync it.  Nobody may write it meanwhile. */
int data_disk_capture(int instance_fd, int snapshot_fd, struct mvm_error *err);

#endif
