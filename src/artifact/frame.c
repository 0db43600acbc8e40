/* SPDX-License-Identifier: Apache-2.0 */
#include "artifact/frame.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <zstd.h>

#define LEVEL 3

#define FRAME_MAGIC  0xfd2fb528u
#define HOLE_HEADER  10u
#define RLE_BLOCK    131072u
#define RLE_BYTES    4u
#define TABLE_MAGIC  0x184d2a5eu
#define TABLE_FOOTER 0x8f92eab1u
#define TABLE_FIXED  17u /* its header and its footer */

_Static_assert(FRAME_MAX_BYTES >= ZSTD_COMPRESSBOUND(CHUNK_MAX_BYTES), "room for a frame");

struct frames {
	ZSTD_CCtx *pack;
	ZSTD_DCtx *unpack;
	uint8_t packed[FRAME_MAX_BYTES], data[CHUNK_MAX_BYTES];
};

struct frames *frames_new(void)
{
	AUTO(frames) f = calloc(1, sizeof(*f));
	if (f) {
		f->pack = ZSTD_createCCtx();
		f->unpack = ZSTD_createDCtx();
	}
	return f && f->pack && f->unpack ? TAKE_PTR(f) : NULL;
}

void frames_free(struct frames *f)
{
	if (!f)
		return;
	ZSTD_freeCCtx(f->pack);
	ZSTD_freeDCtx(f->unpack);
	free(f);
}

ssize_t frame_pack(struct frames *f, const void *data, size_t len, const uint8_t **ret)
{
	size_t n = ZSTD_compressCCtx(f->pack, f->packed, sizeof(f->packed), data, len, LEVEL);
	if (ZSTD_isError(n))
		return -ENOMEM; /* the buffer is large enough */
	*ret = f->packed;
	return (ssize_t)n;
}

int frame_unpack(struct frames *f, const void *packed, size_t len, size_t bytes,
		 const uint8_t **ret)
{
	/* one frame alone: ZSTD_decompressDCtx() would take several */
	if (bytes > sizeof(f->data) || ZSTD_findFrameCompressedSize(packed, len) != len ||
	    ZSTD_decompressDCtx(f->unpack, f->data, bytes, packed, len) != bytes)
		return -EBADMSG;
	*ret = f->data;
	return 0;
}

static void add_le32(struct strbuf *b, uint32_t n)
{
	n = htole32(n);
	strbuf_add(b, &n, sizeof(n));
}

uint32_t frame_hole_bytes(uint64_t hole)
{
	return HOLE_HEADER + RLE_BYTES * (uint32_t)((hole + RLE_BLOCK - 1) / RLE_BLOCK);
}

/* A frame with a window of 128 KiB, whose blocks each repeat one zero. */
void frame_add_hole(struct strbuf *b, uint64_t hole)
{
	static const uint8_t descriptor[] = { 0x80, 0x38 }; /* its size in 4 bytes; the window */

	add_le32(b, FRAME_MAGIC);
	strbuf_add(b, descriptor, sizeof(descriptor));
	add_le32(b, (uint32_t)hole);
	while (hole > 0) {
		uint32_t n = hole < RLE_BLOCK ? (uint32_t)hole : RLE_BLOCK;
		hole -= n;
		add_le32(b, n << 3 | 1u << 1 | (hole == 0)); /* 3 bytes and the repeated one */
	}
}

void frame_table_add(struct frame_table *t, uint32_t packed, uint32_t bytes)
{
	add_le32(&t->entries, packed);
	add_le32(&t->entries, bytes);
}

void frame_table_end(struct frame_table *t, struct strbuf *b)
{
	const size_t len = t->entries.len;

	add_le32(b, TABLE_MAGIC);
	add_le32(b, (uint32_t)(len + TABLE_FIXED - 8));
	strbuf_add(b, t->entries.data, len);
	add_le32(b, (uint32_t)(len / 8));
	strbuf_add(b, "", 1); /* no checksums */
	add_le32(b, TABLE_FOOTER);
	b->failed |= t->entries.failed;
	strbuf_done(&t->entries);
}

uint64_t frame_table_bytes(uint64_t frames)
{
	return TABLE_FIXED + 8 * frames;
}
