/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_BLOB_H
#define STORE_BLOB_H

/*
 * Artifacts, stored once each as blobs/sha256/<hex>, mode 0444, never written again.
 *
 * Revisions hold hard links to blobs.  A power cut may lose a blob's own name: the links stay, and
 * the next build stores the blob again.  On a file system without hard links, blobs are copied;
 * store_blobs_copied() reports it, for a note to the user.
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
 *   ret_digest    digest of the bytes
 *   ret_bytes     their number; may be NULL
 *
 * Returns 1 if the blob is new, 0 if a blob has these bytes already.  An existing blob is read
 * again to be sure; a damaged one is replaced.
 */
int store_blob_take(struct store *s, int dir_fd, const char *name, struct mvm_digest *ret_digest,
		    uint64_t *ret_bytes, struct mvm_error *err);

/* Link a blob under a new name into a staging folder.  -ENOENT when the blob is missing. */
int store_blob_link(struct store *s, const struct mvm_digest *digest, int dir_fd, const char *name,
		    struct mvm_error *err);

/* Does the store have this blob?  ret_bytes, its size, may be NULL. */
bool store_blob_has(struct store *s, const struct mvm_digest *digest, uint64_t *ret_bytes);

/* Link a file from one folder of the store to another, or copy it where links fail (mode kept). */
int store_link_file(struct store *s, int from_fd, const char *from, int to_fd, const char *to);

/* Was a file copied because it could not be linked? */
bool store_blobs_copied(const struct store *s);

#endif
