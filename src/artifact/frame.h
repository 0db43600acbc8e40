/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ARTIFACT_FRAME_H
#define ARTIFACT_FRAME_H

/*
 * The zstd frames of a blob: one for each chunk, and the table of frames at its end.
 *
 * Source: RFC 8878 for frames; zstd, contrib/seekable_format/zstd_seekable_compression_format.md.
 */

#include <stddef.h>
#include <stdint.h>

#include "artifact/chunk.h"
#include "base/str.h"

/* What zstd makes at most of a chunk's data. */
#define FRAME_MAX_BYTES (CHUNK_MAX_BYTES + (CHUNK_MAX_BYTES >> 8) + 64)

struct frames;			 /* zstd's state, and buffers */
struct frames *frames_new(void); /* NULL when out of memory */
void frames_free(struct frames *f);
DEFINE_AUTO(frames, frames_free)

/* Pack a chunk of data.  ret: valid until the next call.  Returns its size or -ENOMEM.  The same
 * version of zstd gives the same bytes everywhere. */
ssize_t frame_pack(struct frames *f, const void *data, size_t len, const uint8_t **ret);

/* Unpack a frame that must hold exactly `bytes`.  ret: valid until the next call.  0 or -EBADMSG */
int frame_unpack(struct frames *f, const void *packed, size_t len, size_t bytes,
		 const uint8_t **ret);

/* The frame of a hole is the same for all holes of a size. */
uint32_t frame_hole_bytes(uint64_t hole);
void frame_add_hole(struct strbuf *b, uint64_t hole);

/* The table of frames, which is a frame that decompressors skip. */
struct frame_table {
	struct strbuf entries;
};
void frame_table_add(struct frame_table *t, uint32_t packed, uint32_t bytes);
/* Append the table to b, and empty it. */
void frame_table_end(struct frame_table *t, struct strbuf *b);
uint64_t frame_table_bytes(uint64_t frames);

static inline void frame_table_done(struct frame_table *t)
{
	strbuf_done(&t->entries);
}
DEFINE_AUTO_DONE(frame_table, frame_table_done)

#endif
