/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_IMAGE_H
#define IMAGE_IMAGE_H

/*
 * Root filesystem images from the sources that mvm makes itself, in one call each.
 *
 * Same source, same bytes: beside the source, only the environment's SOURCE_DATE_EPOCH (seconds,
 * else 0) has an effect.  The image goes to an empty regular file that is open for reading and
 * writing.  The caller makes it durable.  On failure the file's contents are worthless.
 */

#include <mvm/digest.h>
#include <mvm/error.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/progress.h"

/* Raise this number whenever a change makes mvm write other bytes for the same source: it is part
 * of the build cache's fingerprint. */
#define IMAGE_FORMAT_VERSION 3u

/* SOURCE_DATE_EPOCH, or 0 when it is not set.  -EINVAL when it is no number of seconds. */
int image_epoch(int64_t *ret, struct mvm_error *err);

struct image_options {
	uint64_t size_bytes; /* of the image; 0: fit the files, with headroom */
	bool whole;	     /* the tar is a guest's root (layer_stream.h) */
	uint64_t max_bytes;  /* limit for unpacked archives; 0: unpack_limit() of their size */
	uint64_t *ret_unpacked_bytes; /* what max_bytes limits; borrowed; may be NULL */
	struct progress_step *step;   /* told of the bytes; borrowed; may be NULL */
};

/*
 * A folder becomes an ext4 image (rules: image/tree_dir.h).
 *
 *   dir_fd    the folder; borrowed
 *   dir_name  for messages
 *   out_fd    borrowed
 *   options   borrowed; NULL: all defaults
 *   ret_lock  the digest of the folder as it was read; may be NULL
 *
 * Returns 0; -EINVAL (the folder holds something else than files, folders and symbolic links),
 * -EBUSY (it changed while mvm read it), -ENOSPC (options->size_bytes is too small), -EFBIG,
 * -ENOMEM, or errno. One pass over the contents, about 3 MiB of memory besides the names.
 */
int image_from_dir(int dir_fd, const char *dir_name, int out_fd,
		   const struct image_options *options, struct mvm_digest *ret_lock,
		   struct mvm_error *err);

/* Compute the digest of image_from_dir() alone.  step: told of the bytes; may be NULL. */
int image_lock_dir(int dir_fd, const char *dir_name, struct progress_step *step,
		   struct mvm_digest *ret_lock, struct mvm_error *err);

/*
 * A tar, compressed or not, becomes an ext4 image (rules: image/layer.h).
 *
 *   tar_fd  a regular file, read twice; its offset does not matter
 *
 * Returns 0; -EBADMSG (cut, damaged or no tar), -EINVAL (an entry that cannot be in an image),
 * -EFBIG (over options->max_bytes), else as image_from_dir.
 */
int image_from_tar(int tar_fd, const char *tar_name, int out_fd,
		   const struct image_options *options, struct mvm_error *err);

/* Make an empty file system with a journal, for writable disks.  label: as in struct
 * ext4_options. */
int image_format_empty(int out_fd, uint64_t size_bytes, const char *label, struct mvm_error *err);

#endif
