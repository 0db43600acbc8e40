/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_BLOB_H
#define STORE_BLOB_H

/*
 * Artifacts, each once, as blobs/sha256/<hex>, mode 0444, never written again.
 *
 * Revisions hold hard links to blobs.  A blob's own name may be lost in a power cut: the links go
 * on, and the next build stores it again.  Where the file system makes no links, blobs are copied;
 * store_blobs_copied() tells, for the note that users get.
 */

#include <mvm/digest.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/store.h"

/*
 * Make a blob of a file that this process wrote in staging.
 *
 *   dir_fd, name  the file; afterwards it is read-only and shares its storage with the blob, and
 *                 its bytes are on disk
 *   ret_digest    what the bytes hash to
 *   ret_bytes     how many; may be NULL
 *
 * Returns 1 if the blob is new, 0 if there was one with these bytes already; it is read again to
 * be sure, and a damaged one is replaced.
 */
int store_blob_take(struct store *s, int dir_fd, const char *name, struct mvm_digest *ret_digest,
		    uint64_t *ret_bytes, struct mvm_error *err);

/* Put a blob under a new name into a staging folder.  -ENOENT when there is no such blob. */
int store_blob_link(struct store *s, const struct mvm_digest *digest, int dir_fd, const char *name,
		    struct mvm_error *err);

/* Is there such a blob?  ret_bytes, its size, may be NULL. */
bool store_blob_has(struct store *s, const struct mvm_digest *digest, uint64_t *ret_bytes);

/* Link a file from one folder of the store to another, or copy it where links fail (mode kept). */
int store_link_file(struct store *s, int from_fd, const char *from, int to_fd, const char *to);

/* Did anything have to be copied because it could not be linked? */
bool store_blobs_copied(const struct store *s);

#endif
