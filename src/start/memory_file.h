/* SPDX-License-Identifier: Apache-2.0 */
#ifndef START_MEMORY_FILE_H
#define START_MEMORY_FILE_H

/*
 * A snapshot's memory file, mem.bin: making it sparse, and noticing a change.
 *
 * The file is too large to hash before every restore, and its owner can write it.  So a snapshot
 * records the file's identity (device, inode, size, modification and change time).  While the
 * identity is the same, so are the bytes, as far as the file system's clock can tell.
 */

#include <stdint.h>

#include "base/error.h"

struct mvm_snapshot_info;
struct progress_step;

/* Turn pages that hold only zeros into holes.  step: told how far it is, may be NULL. */
int memory_file_punch(int fd, struct progress_step *step, struct mvm_error *err);

/* The identity as text, the caller's. */
int memory_file_identity(int fd, char **ret);

/* Let the clones of the snapshot's backend read the file.  Of a backend that this mvm does not know
 * no VM starts, and the file stays as it is.  Changes the identity. */
int memory_file_share(int fd, const struct mvm_snapshot_info *snapshot);

#endif
