/* SPDX-License-Identifier: Apache-2.0 */
#ifndef START_DATA_DISK_H
#define START_DATA_DISK_H

/* A template's data disk: the empty one of a revision, and which one a start begins with. */

#include <mvm/digest.h>

#include "start/start.h"

/* Can a template have a disk of this size?  0 MiB means none, which is fine; -EINVAL. */
int data_disk_check(uint32_t size_mib, struct mvm_error *err);

/*
 * The blob of an empty disk of that size, made if there is none.  The same size gives the same
 * bytes, so its digest is remembered and a second build of it costs nothing.
 */
int data_disk_blob(struct store *s, uint32_t size_mib, struct mvm_digest *ret,
		   struct mvm_error *err);

/* Open the disk that an instance gets its copy of: the one frozen with the snapshot, or the empty
 * one.  -1 without an error when the revision has none. */
int data_disk_open(const struct revision *r, bool restore, struct mvm_error *err);

/* The identity of the captured one, as memory_file_identity() gives it. */
int data_disk_identity(int snapshot_fd, char **ret, struct mvm_error *err);

#endif
