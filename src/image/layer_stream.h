/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_LAYER_STREAM_H
#define IMAGE_LAYER_STREAM_H

/*
 * One layer as a stream: the bytes of a file, decompressed, counted and digested, then read as a
 * tar.
 *
 * Calling sequence: layer_stream_open, then layer_stream_next and tar_contents on `tar` until the
 * end, then layer_stream_finish, which says whether it was the right layer; layer_stream_free at
 * any time.  A failure of tar_contents goes through layer_stream_error, which knows when the cause
 * lies below the tar.
 */

#include <mvm/digest.h>

#include "image/tar_entry.h"

/* Where a layer is.  All borrowed. */
struct layer_source {
	int fd; /* a regular file; its offset does not matter */
	uint64_t offset, size;
	const char *name;	   /* for messages */
	struct mvm_digest diff_id; /* SHA-256 of the tar, decompressed */
	/* A tar by itself, as a file or in a Debian package: in any compression that
	 * unpack_filter() knows, without a diff_id. Nothing but its end says that it is whole, so
	 * that must be there.  A layer is plain, gzip or zstd; one without any bytes adds nothing.
	 */
	bool alone;
};

struct layer_stream {
	struct tar_reader tar;
	/* the rest is private */
	struct layer_state *state;
};

/*
 *   budget  charged with every byte that it decompresses to; borrowed until the free
 *
 * Returns 0, -EBADMSG (not compressed as it should be, no tar), -EFBIG (over the budget), -ENOMEM
 * or errno.
 */
int layer_stream_open(struct layer_stream *s, const struct layer_source *source,
		      struct unpack_budget *budget, struct mvm_error *err);

/* The next entry, borrowed until the call after.  Returns 1, 0 at the end, -EBADMSG (cut or
 * damaged), -EFBIG (over the budget, or a header of more than 16 MiB), -ENOMEM or errno. */
int layer_stream_next(struct layer_stream *s, struct archive_entry **ret, struct mvm_error *err);

/* The true cause of a failed call on s->tar; r: what it returned. */
int layer_stream_error(const struct layer_stream *s, int r, struct mvm_error *err);

/* Read to the end of the layer, behind the tar's own end, and check its digest.  -EBADMSG. */
int layer_stream_finish(struct layer_stream *s, struct mvm_error *err);

void layer_stream_free(struct layer_stream *s);
DEFINE_AUTO_DONE(layer_stream, layer_stream_free)

#endif
