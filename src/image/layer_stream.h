/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_LAYER_STREAM_H
#define IMAGE_LAYER_STREAM_H

/*
 * Read one layer as a stream: decompress, count and digest the bytes of a file, and read them as a
 * tar.
 *
 * Calling sequence: layer_stream_open, then layer_stream_next and tar_contents on `tar` until the
 * end, then layer_stream_finish, which checks the layer's digest; layer_stream_free at any time.
 * Pass a failure of tar_contents to layer_stream_error, which knows causes below the tar.
 */

#include <mvm/digest.h>

#include "image/tar_entry.h"

/* The place of a layer.  All members are borrowed. */
struct layer_source {
	int fd; /* a regular file; its offset does not matter */
	uint64_t offset, size;
	const char *name;	   /* for messages */
	struct mvm_digest diff_id; /* SHA-256 of the tar, decompressed */
	/* The tar is no layer, but a file or a member of a Debian package.  It may have any
	 * compression that unpack_filter() knows, and has no diff_id: only the blocks of zeros at
	 * its end tell that it is whole, so they must not be missing.  A layer is plain, gzip or
	 * zstd; a layer without any bytes adds nothing. */
	bool alone;
	/* A guest's whole root: names with ".wh." are files, not whiteouts, and no compression is
	 * tried. */
	bool whole;
};

struct layer_stream {
	struct tar_reader tar;
	/* the rest is private */
	struct layer_state *state;
};

/*
 * Open a stream.
 *
 *   budget  charged with every unpacked byte; borrowed until layer_stream_free()
 *
 * Returns 0, -EBADMSG (a damaged compression, or no tar), -EFBIG (over the budget), -ENOMEM
 * or errno.
 */
int layer_stream_open(struct layer_stream *s, const struct layer_source *source,
		      struct unpack_budget *budget, struct mvm_error *err);

/* The next entry, borrowed until the next call.  Returns 1, 0 at the end, -EBADMSG (cut or
 * damaged), -EFBIG (over the budget, or a header of more than 16 MiB), -ENOMEM or errno. */
int layer_stream_next(struct layer_stream *s, struct archive_entry **ret, struct mvm_error *err);

/* Replace the error of a failed call on s->tar by its true cause.  r: the result of that call. */
int layer_stream_error(const struct layer_stream *s, int r, struct mvm_error *err);

/* Read on behind the tar's end to the end of the layer, and check the digest.  -EBADMSG. */
int layer_stream_finish(struct layer_stream *s, struct mvm_error *err);

void layer_stream_free(struct layer_stream *s);
DEFINE_AUTO_DONE(layer_stream, layer_stream_free)

#endif
