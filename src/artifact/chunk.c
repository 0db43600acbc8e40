/* SPDX-License-Identifier: Apache-2.0 */
#include "artifact/chunk.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"

#define BUF_BYTES (4u << 20)
/* a chunk's last block is followed by at most one run that is looked at */
#define WINDOW_BYTES (CHUNK_MAX_BYTES + CHUNK_HOLE_MIN_BLOCKS * CHUNK_BLOCK)
#define CUT_MODULUS  48u /* (average - least) blocks */

int cutter_init(struct cutter *c, int fd, uint64_t size)
{
	*c = (struct cutter){ .fd = fd, .size = size, .buf = malloc(BUF_BYTES) };
	return c->buf ? 0 : -ENOMEM;
}

void cutter_done(struct cutter *c)
{
	free(c->buf);
	*c = (struct cutter){ .fd = -1 };
}

uint32_t chunk_block_hash(const uint8_t *block)
{
	uint64_t h = 0;

	for (size_t i = 0; i < CHUNK_BLOCK; i += sizeof(uint64_t)) {
		uint64_t word;
		memcpy(&word, block + i, sizeof(word));
		h ^= le64toh(word);
		h = (h << 23 | h >> 41) * UINT64_C(0x9e3779b97f4a7c15);
	}
	return (uint32_t)(h >> 32);
}

/* Have the bytes of the next WINDOW_BYTES, or of the rest of the file, in the buffer. */
static int fill(struct cutter *c)
{
	size_t have = c->end - c->start;
	uint64_t left = c->size - c->at;

	if (have >= WINDOW_BYTES || have >= left)
		return 0;
	memmove(c->buf, c->buf + c->start, have);
	c->start = 0;
	size_t want = left < BUF_BYTES ? (size_t)left : BUF_BYTES;
	ssize_t n = file_read_range(c->fd, c->buf + have, want - have, c->at + have);
	bool ok = n == (ssize_t)(want - have);
	c->end = ok ? want : have;
	if (ok)
		return 0;
	return n < 0 ? (int)n : -EIO;
}

/* Drop the next bytes, which may lie behind the buffer's. */
static void advance(struct cutter *c, uint64_t bytes)
{
	size_t have = c->end - c->start;

	c->at += bytes;
	if (bytes < have)
		c->start += (size_t)bytes;
	else
		c->start = c->end = 0;
}

static size_t block_bytes(const struct cutter *c, size_t block)
{
	size_t have = c->end - c->start - block * CHUNK_BLOCK;
	return have < CHUNK_BLOCK ? have : CHUNK_BLOCK;
}

static bool is_zero(const struct cutter *c, size_t block)
{
	return mem_is_zero(c->buf + c->start + block * CHUNK_BLOCK, block_bytes(c, block));
}

/* How many of the buffer's blocks, at most `most`, are zero from this one on? */
static size_t zero_run(const struct cutter *c, size_t block, size_t most)
{
	size_t blocks = (size_t)chunk_blocks(c->end - c->start), n = 0;
	while (n < most && block + n < blocks && is_zero(c, block + n))
		n++;
	return n;
}

/* Skip what the file system knows to be a hole.  A file system that knows none has data there. */
static uint64_t skip_hole(const struct cutter *c, uint64_t at)
{
	off_t data = lseek(c->fd, (off_t)at, SEEK_DATA);
	if (data < 0)
		return errno == ENXIO ? c->size : at;
	uint64_t next = (uint64_t)data / CHUNK_BLOCK * CHUNK_BLOCK;
	if (next > c->size)
		return c->size;
	return next > at ? next : at;
}

/* The hole at the buffer's start, which has CHUNK_HOLE_MIN_BLOCKS at least. */
static int take_hole(struct cutter *c, struct chunk_span *ret)
{
	const uint64_t most = (uint64_t)CHUNK_HOLE_MAX_BLOCKS * CHUNK_BLOCK;
	uint64_t bytes = 0, limit = c->size - c->at;

	if (limit > most)
		limit = most;
	*ret = (struct chunk_span){ .offset = c->at };
	while (bytes < limit) {
		uint64_t run = zero_run(c, 0, CHUNK_HOLE_MAX_BLOCKS) * CHUNK_BLOCK;
		bool all = run >= c->end - c->start;
		if (run > limit - bytes)
			run = limit - bytes;
		bytes += run;
		advance(c, run);
		if (!all || bytes == limit)
			break;
		uint64_t skipped = skip_hole(c, c->at) - c->at;
		if (skipped > limit - bytes)
			skipped = limit - bytes;
		bytes += skipped;
		advance(c, skipped);
		int r = fill(c);
		if (r < 0)
			return r;
	}
	ret->bytes = bytes;
	return 1;
}

static void take_data(struct cutter *c, struct chunk_span *ret)
{
	size_t blocks = (size_t)chunk_blocks(c->end - c->start), n = 0;
	size_t known = 0; /* no long run of zeros begins before this block */

	while (n < blocks && n < CHUNK_MAX_BLOCKS) {
		if (n >= known) {
			size_t run = zero_run(c, n, CHUNK_HOLE_MIN_BLOCKS);
			if (run == CHUNK_HOLE_MIN_BLOCKS)
				break;
			known = n + run + 1;
		}
		const uint8_t *block = c->buf + c->start + n * CHUNK_BLOCK;
		bool whole = block_bytes(c, n) == CHUNK_BLOCK;
		n++;
		if (n >= CHUNK_MIN_BLOCKS && whole && chunk_block_hash(block) % CUT_MODULUS == 0)
			break;
	}
	size_t bytes = n * CHUNK_BLOCK, have = c->end - c->start;
	*ret = (struct chunk_span){ .offset = c->at,
				    .bytes = bytes < have ? bytes : have,
				    .data = c->buf + c->start };
}

int cutter_next(struct cutter *c, struct chunk_span *ret)
{
	if (c->at == c->size)
		return 0;
	int r = fill(c);
	if (r < 0)
		return r;
	if (zero_run(c, 0, CHUNK_HOLE_MIN_BLOCKS) == CHUNK_HOLE_MIN_BLOCKS)
		return take_hole(c, ret);
	take_data(c, ret);
	c->at += ret->bytes; /* the bytes stay in the buffer until the next call */
	c->start += (size_t)ret->bytes;
	return 1;
}
