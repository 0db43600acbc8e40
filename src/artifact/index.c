/* SPDX-License-Identifier: Apache-2.0 */
#include "artifact/index.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "artifact/chunk.h"
#include "artifact/frame.h"
#include "base/str.h"

#define MAGIC	       "MVMCIDX1"
#define VERSION	       1u
#define CHUNK_RECORD   44u
#define FLAG_RAW       1u
#define FILE_MAX_BYTES ((uint64_t)1 << 44)

void chunk_index_done(struct chunk_index *x)
{
	free(x->chunks);
	*x = (struct chunk_index){ 0 };
}

bool chunk_is_hole(const struct index_chunk *c)
{
	return mem_is_zero(&c->digest, sizeof(c->digest));
}

uint64_t chunk_bytes(const struct index_file *f, uint64_t offset, const struct index_chunk *c)
{
	uint64_t bytes = (uint64_t)c->blocks * CHUNK_BLOCK;
	return bytes < f->bytes - offset ? bytes : f->bytes - offset;
}

int chunk_index_add(struct chunk_index *x, const struct index_chunk *chunk)
{
	if (x->n_chunks >= INDEX_MAX_BYTES / CHUNK_RECORD)
		return -EFBIG;
	if (x->n_chunks == x->cap) {
		uint32_t cap = x->cap ? 2 * x->cap : 256;
		struct index_chunk *chunks = reallocarray(x->chunks, cap, sizeof(*chunks));
		if (!chunks)
			return -ENOMEM;
		x->chunks = chunks;
		x->cap = cap;
	}
	x->chunks[x->n_chunks++] = *chunk;
	x->files[x->n_files - 1].n_chunks++;
	return 0;
}

int chunk_index_add_part(struct chunk_index *x, const struct mvm_digest *digest, uint64_t bytes)
{
	if (x->n_parts == INDEX_MAX_PARTS)
		return -EFBIG;
	x->parts[x->n_parts++] = (struct index_part){ *digest, bytes };
	x->files[x->n_files - 1].n_parts++;
	return 0;
}

int chunk_index_add_file(struct chunk_index *x, const char *name, uint64_t bytes)
{
	if (x->n_files == INDEX_MAX_FILES || strlen(name) >= INDEX_NAME_SIZE ||
	    bytes > FILE_MAX_BYTES)
		return -EFBIG;
	struct index_file *f = &x->files[x->n_files++];
	*f = (struct index_file){ .bytes = bytes,
				  .first_chunk = x->n_chunks,
				  .first_part = x->n_parts };
	memcpy(f->name, name, strlen(name) + 1);
	return 0;
}

uint64_t chunk_index_data(const struct chunk_index *x, const struct index_file *f)
{
	const struct index_chunk *chunks = x->chunks + f->first_chunk;
	uint64_t offset = 0, data = 0;

	for (uint32_t i = 0; i < f->n_chunks; i++) {
		uint64_t bytes = chunk_bytes(f, offset, &chunks[i]);
		data += chunk_is_hole(&chunks[i]) ? 0 : bytes;
		offset += bytes;
	}
	return data;
}

const struct index_file *chunk_index_find(const struct chunk_index *x, const char *name)
{
	for (uint32_t i = 0; i < x->n_files; i++) {
		if (str_eq(x->files[i].name, name))
			return &x->files[i];
	}
	return NULL;
}

/* ---- writing ---- */

static void put16(struct strbuf *b, uint16_t n)
{
	n = htole16(n);
	strbuf_add(b, &n, sizeof(n));
}

static void put32(struct strbuf *b, uint32_t n)
{
	n = htole32(n);
	strbuf_add(b, &n, sizeof(n));
}

static void put64(struct strbuf *b, uint64_t n)
{
	n = htole64(n);
	strbuf_add(b, &n, sizeof(n));
}

static void put_file(struct strbuf *b, const struct chunk_index *x, const struct index_file *f)
{
	const size_t len = strlen(f->name);

	put16(b, (uint16_t)len);
	strbuf_add(b, f->name, len);
	put64(b, f->bytes);
	strbuf_add(b, &f->digest, sizeof(f->digest));
	put16(b, f->raw ? FLAG_RAW : 0);
	put32(b, f->n_chunks);
	put16(b, (uint16_t)f->n_parts);
	for (uint32_t i = 0; i < f->n_parts; i++) {
		strbuf_add(b, &x->parts[f->first_part + i].digest, sizeof(struct mvm_digest));
		put64(b, x->parts[f->first_part + i].bytes);
	}
}

int chunk_index_format(const struct chunk_index *x, uint8_t **ret, size_t *ret_len,
		       struct mvm_error *err)
{
	AUTO_DONE(strbuf) b = { 0 };

	strbuf_adds(&b, MAGIC);
	put32(&b, VERSION);
	put32(&b, CHUNK_BLOCK);
	put32(&b, x->n_files);
	put32(&b, x->n_chunks);
	for (uint32_t i = 0; i < x->n_files; i++)
		put_file(&b, x, &x->files[i]);
	for (uint32_t i = 0; i < x->n_chunks; i++) {
		strbuf_add(&b, &x->chunks[i].digest, sizeof(struct mvm_digest));
		put32(&b, x->chunks[i].blocks);
		put32(&b, x->chunks[i].packed);
		put16(&b, x->chunks[i].part);
		put16(&b, 0);
	}
	if (b.len > INDEX_MAX_BYTES)
		return mvm_error_set(err, -EFBIG, "the index of its chunks exceeds %zu MiB",
				     INDEX_MAX_BYTES >> 20);
	*ret_len = b.len;
	*ret = (uint8_t *)strbuf_take(&b);
	return *ret ? 0 : mvm_error_oom(err);
}

/* ---- reading ---- */

/* What is left of the text.  Reading beyond its end gives zeros and sets `cut`. */
struct reader {
	const uint8_t *at;
	size_t left;
	bool cut;
};

static void get(struct reader *r, void *ret, size_t len)
{
	if (len > r->left) {
		r->cut = true;
		r->left = 0;
		memset(ret, 0, len);
		return;
	}
	memcpy(ret, r->at, len);
	r->at += len;
	r->left -= len;
}

static uint16_t get16(struct reader *r)
{
	uint16_t n;
	get(r, &n, sizeof(n));
	return le16toh(n);
}

static uint32_t get32(struct reader *r)
{
	uint32_t n;
	get(r, &n, sizeof(n));
	return le32toh(n);
}

static uint64_t get64(struct reader *r)
{
	uint64_t n;
	get(r, &n, sizeof(n));
	return le64toh(n);
}

static int wrong(struct mvm_error *err, const char *what)
{
	return mvm_error_set(err, -EBADMSG, "the chunk index is damaged: %s", what);
}

static bool name_ok(const char *name)
{
	bool at_start = true;
	for (; *name; name++) {
		bool plain = (*name >= 'a' && *name <= 'z') || (*name >= '0' && *name <= '9') ||
			     *name == '-';
		if (!plain && (at_start || (*name != '.' && *name != '/')))
			return false;
		at_start = *name == '/';
	}
	return !at_start;
}

static int get_file(struct reader *r, struct chunk_index *x, uint32_t *n_left,
		    struct mvm_error *err)
{
	char name[INDEX_NAME_SIZE] = "";
	struct mvm_digest digest;

	uint16_t len = get16(r);
	if (len >= sizeof(name))
		return wrong(err, "a file's name is too long");
	get(r, name, len);
	if (strlen(name) != len || !name_ok(name) || chunk_index_find(x, name))
		return wrong(err, "a file's name is invalid");
	if (chunk_index_add_file(x, name, get64(r)) < 0)
		return wrong(err, "a file is too large");
	struct index_file *f = &x->files[x->n_files - 1];
	get(r, &f->digest, sizeof(f->digest));
	uint16_t flags = get16(r);
	f->raw = flags == FLAG_RAW;
	uint32_t n_chunks = get32(r);
	uint16_t n_parts = get16(r);
	if (flags > FLAG_RAW || n_chunks > *n_left || (f->raw && (n_chunks > 1 || n_parts != 1)))
		return wrong(err, "a file has the wrong number of chunks");
	*n_left -= n_chunks;
	for (uint16_t i = 0; i < n_parts && !r->cut; i++) {
		get(r, &digest, sizeof(digest));
		if (chunk_index_add_part(x, &digest, get64(r)) < 0)
			return wrong(err, "it names too many blobs");
	}
	f->n_chunks = n_chunks;
	return 0;
}

static bool chunk_ok(const struct index_file *f, uint64_t offset, const struct index_chunk *c,
		     uint32_t part, bool reserved)
{
	bool hole = chunk_is_hole(c);

	if (c->blocks == 0 || offset >= f->bytes || reserved ||
	    c->blocks > (hole ? CHUNK_HOLE_MAX_BLOCKS : CHUNK_MAX_BLOCKS) ||
	    c->blocks > chunk_blocks(f->bytes - offset))
		return false;
	if (c->part != part && (c->part != part + 1 || offset == 0))
		return false;
	uint64_t bytes = chunk_bytes(f, offset, c);
	if (f->raw)
		return !hole && c->packed == bytes;
	return hole ? c->packed == frame_hole_bytes(bytes)
		    : c->packed > 0 && c->packed <= FRAME_MAX_BYTES;
}

/* Do the frames of a file's part fill it?  They are added up in packed. */
static bool part_ok(const struct chunk_index *x, const struct index_file *f, uint32_t part,
		    uint64_t packed, uint64_t frames)
{
	return part < f->n_parts && x->parts[f->first_part + part].bytes ==
					    packed + (f->raw ? 0 : frame_table_bytes(frames));
}

static int get_chunks(struct reader *r, struct chunk_index *x, struct index_file *f,
		      struct mvm_error *err)
{
	uint64_t offset = 0, packed = 0, frames = 0;
	uint32_t part = 0;

	f->first_chunk = x->n_chunks;
	for (uint32_t i = 0; i < f->n_chunks; i++) {
		struct index_chunk c;
		get(r, &c.digest, sizeof(c.digest));
		c.blocks = get32(r);
		c.packed = get32(r);
		c.part = get16(r);
		bool reserved = get16(r) != 0;
		if (r->cut || !chunk_ok(f, offset, &c, part, reserved))
			return wrong(err, "a chunk's size is wrong");
		if (c.part != part) {
			if (!part_ok(x, f, part, packed, frames))
				return wrong(err, "a blob's size is wrong");
			part++;
			packed = frames = 0;
		}
		offset += chunk_bytes(f, offset, &c);
		packed += c.packed;
		frames++;
		x->chunks[x->n_chunks++] = c;
	}
	if (offset != f->bytes)
		return wrong(err, "a file's chunks do not add up to its size");
	return part + 1 == f->n_parts && part_ok(x, f, part, packed, frames)
		       ? 0
		       : wrong(err, "a blob's size is wrong");
}

int chunk_index_parse(const void *data, size_t len, struct chunk_index *ret, struct mvm_error *err)
{
	AUTO_DONE(chunk_index) x = { 0 };
	struct reader reader = { data, len, false };
	char magic[8];
	int r = 0;

	if (len > INDEX_MAX_BYTES)
		return mvm_error_set(err, -EFBIG, "the chunk index is larger than %zu MiB",
				     INDEX_MAX_BYTES >> 20);
	get(&reader, magic, sizeof(magic));
	if (memcmp(magic, MAGIC, sizeof(magic)) != 0)
		return wrong(err, "it does not begin as one");
	uint32_t version = get32(&reader), block = get32(&reader);
	if (!reader.cut && version != VERSION)
		return mvm_error_set(err, -EOPNOTSUPP,
				     "its chunk index has version %u, and this "
				     "mvm knows %u",
				     version, VERSION);
	uint32_t n_files = get32(&reader), n_chunks = get32(&reader), left = n_chunks;
	if (block != CHUNK_BLOCK || n_files > INDEX_MAX_FILES || n_chunks > len / CHUNK_RECORD)
		return wrong(err, "its numbers make no sense");
	for (uint32_t i = 0; r == 0 && i < n_files; i++)
		r = get_file(&reader, &x, &left, err);
	if (r == 0 && (reader.cut || left))
		r = wrong(err, "it is cut");
	if (r == 0 && n_chunks) {
		x.chunks = calloc(n_chunks, sizeof(*x.chunks));
		x.cap = n_chunks;
		r = x.chunks ? 0 : mvm_error_oom(err);
	}
	for (uint32_t i = 0; r == 0 && i < n_files; i++)
		r = get_chunks(&reader, &x, &x.files[i], err);
	if (r == 0 && reader.left)
		r = wrong(err, "more follows it");
	if (r < 0)
		return r;
	*ret = x;
	x = (struct chunk_index){ 0 };
	return 0;
}
