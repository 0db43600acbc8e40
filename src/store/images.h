/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_IMAGES_H
#define STORE_IMAGES_H

/*
 * Images from registries, and the blobs that a pull has begun.
 *
 * An image's manifest, configuration and layers are ordinary blobs.  cache/images/<digest of the
 * manifest>/ holds a hard link to each of them, so that garbage collection leaves them.  A cached
 * build names its image with a fact, STORE_IMAGE_FACT; the collection removes images that no
 * remaining build names.
 *
 * cache/pulls/<digest> has the first bytes of a blob, or the ranges of an artifact's blobs that
 * were fetched (artifact/assembly.h), by the digest of its manifest.  The turn of that digest
 * (store/turn.h) belongs to whoever writes it.  A pull that was interrupted leaves it for the next
 * one.
 *
 * cache/chunks/<digest> lists the chunks of a file with that digest (template/chunk_lists.h).
 */

#include <mvm/digest.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "store/store.h"

#define STORE_IMAGE_FACT "image="

/* Keep blobs as those of an image.  A blob that is missing is left out.  0 or -errno. */
int store_image_keep(struct store *s, const struct mvm_digest *image,
		     const struct mvm_digest *blobs, size_t n, struct mvm_error *err);

/*
 * Remove an image: only the links that store_image_keep() made.  The folder stays when it holds
 * anything else.
 *
 *   image  the folder's name
 *   fn     called for each link, before it is removed; returns 0 or -errno; may be NULL
 *
 * Returns 0 or -errno.
 */
int store_image_drop(struct store *s, const char *image, bool dry_run,
		     int (*fn)(void *arg, const struct stat *st), void *arg);

/* Remove the beginnings of blobs that nobody fetches now.  Returns their number or -errno. */
int store_sweep_pulls(struct store *s, bool dry_run, uint64_t *ret_bytes);

/* Remove the lists of chunks that no pull has used for 30 days.  Returns as above. */
int store_sweep_chunks(struct store *s, bool dry_run, uint64_t *ret_bytes);

#endif
