/* SPDX-License-Identifier: Apache-2.0 */
#include "artifact/pack.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "artifact/chunk.h"
#include "artifact/frame.h"
#include "base/file.h"
#include "codec/sha256.h"

/* One blob in the making. */
struct part {
	const struct blob_sink *sink;
	struct sha256 hash;
	uint64_t bytes;
	struct frame_table table;
	bool open;
};

static void part_done(struct part *p)
{
	frame_table_done(&p->table);
}
DEFINE_AUTO_DONE(part, part_done)

static int part_begin(struct part *p, struct mvm_error *err)
{
	sha256_init(&p->hash);
	p->bytes = 0;
	p->open = true;
	return p->sink->begin(p->sink->arg, err);
}

static int part_add(struct part *p, const void *data, size_t len, struct mvm_error *err)
{
	sha256_add(&p->hash, data, len);
	p->bytes += len;
	return p->sink->write(p->sink->arg, data, len, err);
}

static int part_end(struct part *p, struct mvm_digest *ret, struct mvm_error *err)
{
	sha256_end(&p->hash, ret);
	p->open = false;
	return p->sink->end(p->sink->arg, ret, p->bytes, err);
}

int blob_list_add(struct blob_list *l, const struct mvm_digest *digest, uint64_t bytes)
{
	for (size_t i = 0; i < l->n; i++) {
		if (digest_equal(&l->v[i].digest, digest))
			return 0;
	}
	if (l->n == MVM_ARRAY_SIZE(l->v))
		return -EFBIG;
	l->v[l->n++] = (struct index_part){ *digest, bytes };
	return 1;
}

int blob_write(const struct blob_sink *sink, const void *data, size_t len, struct mvm_digest *ret,
	       struct mvm_error *err)
{
	AUTO_DONE(part) p = { .sink = sink };

	int r = part_begin(&p, err);
	if (r == 0)
		r = part_add(&p, data, len, err);
	return r < 0 ? r : part_end(&p, ret, err);
}

/* A file on its way into blobs. */
struct packing {
	struct part part;
	struct chunk_index *index;
	struct index_file *file;
	struct frames *frames;
	struct sha256 hash; /* of the whole file */
	struct progress_step *step;
	uint64_t began;
	const char *name;
};

static int too_large(const struct packing *p, int r, struct mvm_error *err)
{
	return r == -ENOMEM ? mvm_error_oom(err)
			    : mvm_error_set(err, r, "'%s' is too large for an artifact", p->name);
}

static int close_part(struct packing *p, struct mvm_error *err)
{
	AUTO_DONE(strbuf) table = { 0 };
	struct mvm_digest digest;
	int r = 0;

	if (!p->file->raw) {
		frame_table_end(&p->part.table, &table);
		r = table.failed ? mvm_error_oom(err)
				 : part_add(&p->part, table.data, table.len, err);
	}
	if (r == 0)
		r = part_end(&p->part, &digest, err);
	if (r == 0)
		r = chunk_index_add_part(p->index, &digest, p->part.bytes);
	return r == -EFBIG ? too_large(p, r, err) : r;
}

/* Add a frame, perhaps to the next part. */
static int add_frame(struct packing *p, const struct chunk_span *span, const void *frame,
		     size_t len, struct mvm_error *err)
{
	const uint64_t limit = p->part.sink->part_bytes ? p->part.sink->part_bytes
							: PACK_PART_BYTES;
	struct index_chunk chunk = { .blocks = (uint32_t)chunk_blocks(span->bytes),
				     .packed = (uint32_t)len };
	int r = 0;

	if (p->part.open && p->part.bytes > 0 && p->part.bytes + len > limit)
		r = close_part(p, err);
	if (r == 0 && !p->part.open)
		r = part_begin(&p->part, err);
	if (r == 0)
		r = part_add(&p->part, frame, len, err);
	if (r < 0)
		return r;
	frame_table_add(&p->part.table, (uint32_t)len, (uint32_t)span->bytes);
	if (span->data)
		sha256_buf(span->data, (size_t)span->bytes, &chunk.digest);
	chunk.part = (uint16_t)p->file->n_parts;
	r = chunk_index_add(p->index, &chunk);
	return r < 0 ? too_large(p, r, err) : 0;
}

static int pack_span(struct packing *p, const struct chunk_span *span, struct mvm_error *err)
{
	AUTO_DONE(strbuf) hole = { 0 };
	const uint8_t *frame = span->data;
	ssize_t len = (ssize_t)span->bytes;

	if (!span->data) {
		sha256_add_zeros(&p->hash, span->bytes);
		frame_add_hole(&hole, span->bytes);
		if (hole.failed)
			return mvm_error_oom(err);
		frame = (uint8_t *)hole.data;
		len = (ssize_t)hole.len;
	} else {
		sha256_add(&p->hash, span->data, (size_t)span->bytes);
		if (!p->file->raw)
			len = frame_pack(p->frames, span->data, (size_t)span->bytes, &frame);
	}
	if (len < 0)
		return mvm_error_oom(err);
	int r = add_frame(p, span, frame, (size_t)len, err);
	return r < 0 ? r
		     : progress_bytes(p->step, p->began + span->offset + span->bytes,
				      p->step ? p->step->total_bytes : 0, err);
}

static int cannot_read(const char *name, int r, struct mvm_error *err)
{
	return mvm_error_set(err, r, "cannot read '%s': %s", name, strerror(-r));
}

/* A small file is one chunk, whatever is in it. */
static int pack_raw(struct packing *p, int fd, struct mvm_error *err)
{
	uint8_t data[PACK_RAW_BYTES];
	struct chunk_span span = { .bytes = p->file->bytes, .data = data };

	p->file->raw = true;
	if (span.bytes == 0)
		return part_begin(&p->part, err);
	ssize_t n = file_read_range(fd, data, (size_t)span.bytes, 0);
	if (n != (ssize_t)span.bytes)
		return cannot_read(p->name, n < 0 ? (int)n : -EIO, err);
	return pack_span(p, &span, err);
}

static int pack_chunks(struct packing *p, int fd, struct mvm_error *err)
{
	AUTO_DONE(cutter) cutter = { 0 };
	AUTO(frames) frames = frames_new();
	struct chunk_span span;

	if (!frames || cutter_init(&cutter, fd, p->file->bytes) < 0)
		return mvm_error_oom(err);
	p->frames = frames;
	int r;
	while ((r = cutter_next(&cutter, &span)) > 0) {
		r = pack_span(p, &span, err);
		if (r < 0)
			return r;
	}
	return r < 0 ? cannot_read(p->name, r, err) : 0;
}

int pack_file(const char *name, int fd, const struct blob_sink *sink, struct chunk_index *index,
	      struct progress_step *step, struct mvm_error *err)
{
	struct packing p = { .part = { .sink = sink },
			     .index = index,
			     .step = step,
			     .began = step ? step->done_bytes : 0,
			     .name = name };
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return cannot_read(name, -EINVAL, err);
	int r = chunk_index_add_file(index, name, (uint64_t)st.st_size);
	if (r < 0)
		return too_large(&p, r, err);
	p.file = &index->files[index->n_files - 1];
	sha256_init(&p.hash);
	r = st.st_size < PACK_RAW_BYTES ? pack_raw(&p, fd, err) : pack_chunks(&p, fd, err);
	if (r == 0)
		r = close_part(&p, err);
	part_done(&p.part);
	if (r < 0)
		return r;
	sha256_end(&p.hash, &p.file->digest);
	if (step)
		step->done_bytes = p.began + p.file->bytes;
	return 0;
}
