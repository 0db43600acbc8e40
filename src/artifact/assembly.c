/* SPDX-License-Identifier: Apache-2.0 */
#include "artifact/assembly.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "artifact/chunk.h"
#include "artifact/frame.h"
#include "base/file.h"
#include "codec/sha256.h"

void assembly_done(struct assembly *a)
{
	free(a->places);
	free(a->sorted);
	frames_free(a->frames);
	free(a->buf);
	*a = (struct assembly){ 0 };
}

static const struct index_chunk *chunk(const struct assembly *a, uint32_t k)
{
	return &a->index->chunks[k];
}

/* qsort_r(3): by digest, then by place. */
static int by_digest(const void *x, const void *y, void *arg)
{
	const uint32_t i = *(const uint32_t *)x, k = *(const uint32_t *)y;
	int r = memcmp(&chunk(arg, i)->digest, &chunk(arg, k)->digest, sizeof(struct mvm_digest));
	return r ? r : (i > k) - (i < k);
}

/* Where the chunks of a file are, and which are wanted.  packed_at: of its first part */
static void place_file(struct assembly *a, uint32_t i, uint64_t packed_at)
{
	const struct index_file *f = &a->index->files[i];
	uint64_t offset = 0, part_at = packed_at, at = packed_at;
	uint32_t part = 0;

	for (uint32_t k = f->first_chunk; k < f->first_chunk + f->n_chunks; k++) {
		const struct index_chunk *c = chunk(a, k);
		while (part < c->part) {
			part_at += a->index->parts[f->first_part + part++].bytes;
			at = part_at;
		}
		bool wanted = a->fds[i] >= 0 && !chunk_is_hole(c);
		a->places[k] = (struct assembly_place){
			.offset = offset, .packed_at = at, .file = i, .is_here = !wanted
		};
		if (wanted)
			a->sorted[a->n_sorted++] = k;
		offset += chunk_bytes(f, offset, c);
		at += c->packed;
	}
}

int assembly_init(struct assembly *a, const struct chunk_index *index, const int *fds,
		  struct mvm_error *err)
{
	*a = (struct assembly){ .index = index, .fds = fds };
	a->places = calloc((size_t)index->n_chunks + 1, sizeof(*a->places));
	a->sorted = calloc((size_t)index->n_chunks + 1, sizeof(*a->sorted));
	a->frames = frames_new();
	a->buf = malloc(FRAME_MAX_BYTES);
	if (!a->places || !a->sorted || !a->frames || !a->buf)
		return mvm_error_oom(err);
	for (uint32_t i = 0; i < index->n_files; i++) {
		const struct index_file *f = &index->files[i];
		if (fds[i] >= 0 && ftruncate(fds[i], (off_t)f->bytes) < 0)
			return mvm_error_set(err, -errno, "cannot write '%s': %s", f->name,
					     strerror(errno));
		place_file(a, i, a->packed_bytes);
		for (uint32_t k = 0; k < f->n_parts; k++)
			a->packed_bytes += index->parts[f->first_part + k].bytes;
	}
	qsort_r(a->sorted, a->n_sorted, sizeof(*a->sorted), by_digest, a);
	a->n_missing = a->n_sorted;
	return 0;
}

static bool is_wanted(const struct assembly_place *p)
{
	return !p->is_here && !p->later;
}

uint32_t assembly_lacks(const struct assembly *a, const struct index_file *file)
{
	uint32_t n = 0;

	for (uint32_t k = file->first_chunk; k < file->first_chunk + file->n_chunks; k++)
		n += is_wanted(&a->places[k]);
	return n;
}

static uint64_t size_of(const struct assembly *a, uint32_t k)
{
	const struct assembly_place *p = &a->places[k];
	return chunk_bytes(&a->index->files[p->file], p->offset, chunk(a, k));
}

/* The first chunk in `sorted` that has this digest; n_sorted: none. */
static uint32_t find(const struct assembly *a, const struct mvm_digest *digest)
{
	uint32_t low = 0, high = a->n_sorted;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (memcmp(&chunk(a, a->sorted[middle])->digest, digest, sizeof(*digest)) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low < a->n_sorted && digest_equal(&chunk(a, a->sorted[low])->digest, digest)
		       ? low
		       : a->n_sorted;
}

/* Write data that has the digest of the chunk at `first` of `sorted` wherever it belongs. */
static int put(struct assembly *a, uint32_t first, const uint8_t *data, size_t len,
	       struct mvm_error *err)
{
	const struct mvm_digest *digest = &chunk(a, a->sorted[first])->digest;

	for (uint32_t i = first; i < a->n_sorted; i++) {
		const uint32_t k = a->sorted[i];
		struct assembly_place *p = &a->places[k];
		if (!digest_equal(&chunk(a, k)->digest, digest))
			break;
		if (p->is_here || size_of(a, k) != len)
			continue;
		int r = file_write_sparse(a->fds[p->file], data, len, (off_t)p->offset);
		if (r < 0)
			return mvm_error_set(err, r, "cannot write '%s': %s",
					     a->index->files[p->file].name, strerror(-r));
		p->is_here = true;
		a->n_missing--;
		if (a->on_put)
			a->on_put(a->arg, p->file, p->offset, len);
	}
	return 0;
}

static bool has_digest(const void *data, size_t len, const struct mvm_digest *want)
{
	struct mvm_digest digest;
	sha256_buf(data, len, &digest);
	return digest_equal(&digest, want);
}

int assembly_take_file(struct assembly *a, int fd, const struct chunk_index *list,
		       const struct index_file *file, struct progress_step *step,
		       uint64_t *ret_bytes, struct mvm_error *err)
{
	uint64_t offset = 0, len;
	int r = 0;

	for (uint32_t i = 0; r == 0 && a->n_missing && i < file->n_chunks; i++, offset += len) {
		const struct index_chunk *c = &list->chunks[file->first_chunk + i];
		len = chunk_bytes(file, offset, c);
		uint32_t first = chunk_is_hole(c) ? a->n_sorted : find(a, &c->digest);
		if (first == a->n_sorted || a->places[a->sorted[first]].is_here)
			continue;
		if (file_read_range(fd, a->buf, (size_t)len, offset) != (ssize_t)len ||
		    !has_digest(a->buf, (size_t)len, &c->digest))
			continue;
		uint32_t before = a->n_missing;
		r = put(a, first, a->buf, (size_t)len, err);
		*ret_bytes += (before - a->n_missing) * len;
		if (r == 0 && step)
			r = progress_bytes(step, step->done_bytes + (before - a->n_missing) * len,
					   step->total_bytes, err);
	}
	return r;
}

/* Read and check a missing chunk.  1 with its data, or 0 if it is not there. */
static int unpack(struct assembly *a, int fd, uint32_t k, const uint8_t **ret, size_t *ret_len)
{
	const struct index_chunk *c = chunk(a, k);
	const uint64_t len = size_of(a, k);

	if (file_read_range(fd, a->buf, c->packed, a->places[k].packed_at) != (ssize_t)c->packed)
		return 0;
	*ret = a->buf;
	*ret_len = (size_t)len;
	if (!a->index->files[a->places[k].file].raw &&
	    frame_unpack(a->frames, a->buf, c->packed, (size_t)len, ret) < 0)
		return 0;
	return has_digest(*ret, (size_t)len, &c->digest);
}

int assembly_take_packed(struct assembly *a, int fd, struct progress_step *step,
			 struct mvm_error *err)
{
	const uint8_t *data;
	struct stat st;
	size_t len;
	int r = 0;

	if (fstat(fd, &st) < 0 || st.st_blocks == 0)
		return 0;
	for (uint32_t k = 0; r == 0 && a->n_missing && k < a->index->n_chunks; k++) {
		if (!is_wanted(&a->places[k]) || !unpack(a, fd, k, &data, &len))
			continue;
		r = put(a, find(a, &chunk(a, k)->digest), data, len, err);
		if (r == 0 && step)
			r = progress_bytes(step, step->done_bytes + len, step->total_bytes, err);
	}
	return r;
}

int assembly_take_range(struct assembly *a, int fd, const struct chunk_range *range,
			struct mvm_error *err)
{
	const uint64_t end = range->packed_at + range->bytes;
	const uint8_t *data;
	int damaged = 0;
	size_t len;

	for (uint32_t k = 0; k < a->index->n_chunks; k++) {
		const struct assembly_place *p = &a->places[k];
		if (p->is_here || p->packed_at < range->packed_at || p->packed_at >= end)
			continue;
		if (!unpack(a, fd, k, &data, &len)) {
			damaged++;
			continue;
		}
		int r = put(a, find(a, &chunk(a, k)->digest), data, len, err);
		if (r < 0)
			return r;
	}
	return damaged;
}

int assembly_check(const struct assembly *a, uint32_t file, struct progress_step *step,
		   struct mvm_error *err)
{
	const struct index_file *f = &a->index->files[file];
	struct mvm_digest digest;

	int r = sha256_fd(a->fds[file], step, &digest, NULL);
	if (r == -ECANCELED)
		return mvm_error_cancelled(err, "the check of its files");
	if (r < 0)
		return mvm_error_set(err, r, "cannot read '%s': %s", f->name, strerror(-r));
	return digest_equal(&digest, &f->digest)
		       ? 0
		       : mvm_error_set(err, -EBADMSG,
				       "'%s' is damaged: it does not have its digest", f->name);
}

/* ---- planning ---- */

void chunk_ranges_done(struct chunk_ranges *r)
{
	free(r->v);
	*r = (struct chunk_ranges){ 0 };
}

/* Must this chunk be fetched?  Not if another one with its bytes is. */
static bool is_due(const struct assembly *a, uint32_t k)
{
	if (!is_wanted(&a->places[k]))
		return false;
	uint32_t first = find(a, &chunk(a, k)->digest);
	return a->sorted[first] == k || !is_wanted(&a->places[a->sorted[first]]);
}

void assembly_put_off(struct assembly *a, bool later)
{
	for (uint32_t k = 0; k < a->index->n_chunks; k++)
		a->places[k].later = later && !a->places[k].is_here;
}

uint32_t assembly_call_for(struct assembly *a, uint32_t file, uint64_t offset, uint64_t bytes)
{
	const struct index_file *f = &a->index->files[file];
	uint32_t n = 0;

	for (uint32_t k = f->first_chunk; k < f->first_chunk + f->n_chunks; k++) {
		struct assembly_place *p = &a->places[k];
		if (p->is_here || p->offset >= offset + bytes ||
		    p->offset + size_of(a, k) <= offset)
			continue;
		p->later = false;
		n++;
	}
	return n;
}

/* Make ranges for these limits.  false: there are more than `most`. */
static bool plan(const struct assembly *a, uint64_t gap, uint64_t longest, size_t most,
		 struct chunk_ranges *ret)
{
	const struct chunk_index *x = a->index;

	ret->n = 0;
	ret->bytes = 0;
	for (uint32_t i = 0; i < x->n_files; i++) {
		const struct index_file *f = &x->files[i];
		uint64_t from = 0;
		uint32_t part = UINT32_MAX;
		for (uint32_t k = f->first_chunk; k < f->first_chunk + f->n_chunks; k++) {
			const struct index_chunk *c = chunk(a, k);
			struct chunk_range *last = ret->n ? &ret->v[ret->n - 1] : NULL;
			from = f->first_part + c->part == part ? from : 0;
			part = f->first_part + c->part;
			uint64_t end = from + c->packed;
			if (is_due(a, k) && last && last->part == part &&
			    end - last->from <= longest &&
			    from - (last->from + last->bytes) <= gap) {
				ret->bytes += end - last->from - last->bytes;
				last->bytes = end - last->from;
			} else if (is_due(a, k)) {
				if (ret->n == most)
					return false;
				ret->v[ret->n++] = (struct chunk_range){ part, from, c->packed,
									 a->places[k].packed_at };
				ret->bytes += c->packed;
			}
			from = end;
		}
	}
	return true;
}

int assembly_plan_first(const struct assembly *a, size_t most, uint64_t longest,
			struct chunk_ranges *ret, struct mvm_error *err)
{
	*ret = (struct chunk_ranges){ .v = calloc(most + 1, sizeof(*ret->v)) };
	if (!ret->v)
		return mvm_error_oom(err);
	plan(a, ASSEMBLY_GAP_BYTES, longest, most, ret);
	return 0;
}

int assembly_plan(const struct assembly *a, size_t most, struct chunk_ranges *ret,
		  struct mvm_error *err)
{
	uint64_t gap = ASSEMBLY_GAP_BYTES, longest = ASSEMBLY_RANGE_BYTES;

	*ret = (struct chunk_ranges){ .v = calloc(most + 1, sizeof(*ret->v)) };
	if (!ret->v)
		return mvm_error_oom(err);
	while (!plan(a, gap, longest, most, ret)) {
		gap *= 4;
		longest *= 2;
	}
	return 0;
}

/* ---- lists of local files ---- */

int chunks_of_file(const char *name, int fd, struct chunk_index *list, struct progress_step *step,
		   struct mvm_error *err)
{
	static const struct mvm_digest none = { { 0 } };
	AUTO_DONE(cutter) cutter = { 0 };
	struct chunk_span span;
	struct stat st;
	uint64_t frames = 0, began = step ? step->done_bytes : 0, packed = 0;
	int r;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return mvm_error_set(err, -EINVAL, "cannot read '%s'", name);
	r = chunk_index_add_file(list, name, (uint64_t)st.st_size);
	if (r == 0)
		r = cutter_init(&cutter, fd, (uint64_t)st.st_size);
	while (r >= 0 && (r = cutter_next(&cutter, &span)) > 0) {
		struct index_chunk c = { .blocks = (uint32_t)chunk_blocks(span.bytes) };
		if (span.data)
			sha256_buf(span.data, (size_t)span.bytes, &c.digest);
		c.packed = span.data ? 1 : frame_hole_bytes(span.bytes);
		packed += c.packed;
		frames++;
		r = chunk_index_add(list, &c);
		if (r == 0)
			r = progress_bytes(step, began + span.offset + span.bytes,
					   step ? step->total_bytes : 0, err);
	}
	if (r == 0) /* the parser wants a blob that fits the frames */
		r = chunk_index_add_part(list, &none, packed + frame_table_bytes(frames));
	if (r == -ECANCELED)
		return r;
	return r < 0 ? mvm_error_set(err, r, "cannot cut '%s': %s", name, strerror(-r)) : 0;
}
