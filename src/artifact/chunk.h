/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ARTIFACT_CHUNK_H
#define ARTIFACT_CHUNK_H

/*
 * Cut a file into chunks by its content, so that files that are alike have chunks in common.
 *
 * Cuts lie between blocks of 4 KiB, as pages of memory and blocks of ext4 do.  A run of 16 or more
 * zero blocks is a chunk of its own, a hole of at most 1 GiB.  Any other chunk ends before such a
 * run, after 256 blocks, or, once it has 16 blocks, after a block whose hash is a multiple of 48:
 * on average it has 64 blocks.  The hash is part of the format (doc/distribution.md).
 *
 *	AUTO_DONE(cutter) c = { 0 };
 *	cutter_init(&c, fd, size);
 *	while ((r = cutter_next(&c, &span)) > 0)
 *		...
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/own.h"

#define CHUNK_BLOCK	      4096u
#define CHUNK_MIN_BLOCKS      16u
#define CHUNK_MAX_BLOCKS      256u
#define CHUNK_MAX_BYTES	      (CHUNK_MAX_BLOCKS * CHUNK_BLOCK)
#define CHUNK_HOLE_MIN_BLOCKS 16u
#define CHUNK_HOLE_MAX_BLOCKS 262144u

struct chunk_span {
	uint64_t offset, bytes; /* a multiple of CHUNK_BLOCK, except at the end of the file */
	const uint8_t *data;	/* valid until the next call; NULL: a hole */
};

struct cutter {
	int fd; /* borrowed */
	uint64_t size;
	uint8_t *buf;
	uint64_t at;	   /* offset of the next chunk in the file ... */
	size_t start, end; /* ... and in buf, which has the file's bytes from there to `end` */
};

/* 0 or -ENOMEM */
int cutter_init(struct cutter *c, int fd, uint64_t size);
void cutter_done(struct cutter *c);
DEFINE_AUTO_DONE(cutter, cutter_done)

/* Returns 1 with the next chunk, 0 at the end of the file, -EIO when the file is shorter than its
 * size, or another errno of reading. */
int cutter_next(struct cutter *c, struct chunk_span *ret);

/* The hash of a whole block. */
uint32_t chunk_block_hash(const uint8_t *block);

static inline uint64_t chunk_blocks(uint64_t bytes)
{
	return (bytes + CHUNK_BLOCK - 1) / CHUNK_BLOCK;
}

#endif
