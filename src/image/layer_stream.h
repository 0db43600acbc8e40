/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_LAYER_STREAM_H
#define IMAGE_LAYER_STREAM_H

/*
 * One layer of an OCI image as a stream: bytes of a file, decompressed (gzip, zstd or plain),
 * counted and digested, then read as a tar.
 *
 * Calling sequence: layer_stream_open, tar_next and tar_contents on `tar` until the end,
 * layer_stream_finish, which says whether it was the right layer; layer_stream_free at any time.
 * A failure of tar_* goes through layer_stream_error, which knows when the cause lies below.
 */

#include <mvm/digest.h>

#include "image/tar_entry.h"

/* Where a layer is.  All borrowed. */
struct layer_source {
	int fd; /* a regular file; its offset does not matter */
	uint64_t offset, size;
	const char *name;	   /* for messages */
	struct mvm_digest diff_id; /* SHA-256 of the tar, decompressed */
};

struct layer_stream {
	struct tar_reader tar;
	/* the rest is private */
	struct layer_state *state;
};

/*
 *   max_bytes  that it may decompress to; -EFBIG beyond
 *
 * Returns 0, -EBADMSG (not compressed as it should be, no tar), -ENOMEM or errno.
 */
int layer_stream_open(struct layer_stream *s, const struct layer_source *source, uint64_t max_bytes,
		      struct mvm_error *err);

/* What a failed call on s->tar really was; r: what it returned. */
int layer_stream_error(const struct layer_stream *s, int r, struct mvm_error *err);

/* Read to the end of the layer, behind the tar's own end, and check its digest.  -EBADMSG. */
int layer_stream_finish(struct layer_stream *s, struct mvm_error *err);

void layer_stream_free(struct layer_stream *s);
DEFINE_AUTO_DONE(layer_stream, layer_stream_free)

#endif
