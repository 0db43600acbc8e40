/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "artifact/chunk.h"
#include "artifact/frame.h"
#include "artifact/pack.h"
#include "base/file.h"
#include "codec/sha256.h"

struct unpacking {
	const struct index_file *file;
	const struct index_part *parts; /* of the file */
	const struct blob_at *blobs;
	int to_fd;
	struct frames *frames;
	uint8_t *packed; /* FRAME_MAX_BYTES */
	struct sha256 whole, blob;
	uint32_t part;
	uint64_t at; /* in the part */
};

static int damaged(const struct unpacking *u, const char *what, struct mvm_error *err)
{
	return mvm_error_set(err, -EBADMSG, "'%s' is damaged: %s", u->file->name, what);
}

/* Read the next bytes of the part.  They are hashed as they come. */
static int read_blob(struct unpacking *u, size_t len, struct mvm_error *err)
{
	const struct blob_at *blob = &u->blobs[u->part];

	ssize_t n = file_read_range(blob->fd, u->packed, len, blob->offset + u->at);
	if (n < 0)
		return mvm_error_set(err, (int)n, "cannot read the blob of '%s': %s", u->file->name,
				     strerror((int)-n));
	if ((size_t)n < len)
		return damaged(u, "its blob is cut", err);
	sha256_add(&u->blob, u->packed, len);
	u->at += len;
	return 0;
}

/* The rest of a part is its table of frames, which only other programs need. */
static int end_part(struct unpacking *u, struct mvm_error *err)
{
	struct mvm_digest digest;

	while (u->at < u->parts[u->part].bytes) {
		uint64_t left = u->parts[u->part].bytes - u->at;
		int r = read_blob(u, left < FRAME_MAX_BYTES ? (size_t)left : FRAME_MAX_BYTES, err);
		if (r < 0)
			return r;
	}
	sha256_end(&u->blob, &digest);
	if (!digest_equal(&digest, &u->parts[u->part].digest))
		return damaged(u, "a blob does not have its digest", err);
	u->part++;
	u->at = 0;
	return 0;
}

/* Check a chunk and write it. */
static int put_chunk(struct unpacking *u, const struct index_chunk *c, uint64_t offset,
		     struct mvm_error *err)
{
	size_t bytes = (size_t)chunk_bytes(u->file, offset, c);
	const uint8_t *data = u->packed;
	struct mvm_digest digest;

	if (chunk_is_hole(c)) {
		sha256_add_zeros(&u->whole, bytes);
		return 0; /* the file has a hole there */
	}
	if (!u->file->raw && frame_unpack(u->frames, u->packed, c->packed, bytes, &data) < 0)
		return damaged(u, "a chunk cannot be decompressed", err);
	sha256_buf(data, bytes, &digest);
	if (!digest_equal(&digest, &c->digest))
		return damaged(u, "a chunk does not have its digest", err);
	sha256_add(&u->whole, data, bytes);
	int r = file_write_sparse(u->to_fd, data, bytes, (off_t)offset);
	return r < 0 ? mvm_error_set(err, r, "cannot write '%s': %s", u->file->name, strerror(-r))
		     : 0;
}

static int unpack_chunks(struct unpacking *u, const struct index_chunk *chunks,
			 struct progress_step *step, struct mvm_error *err)
{
	const uint64_t began = step ? step->done_bytes : 0;
	uint64_t offset = 0;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < u->file->n_chunks; i++) {
		const struct index_chunk *c = &chunks[i];
		if (c->part != u->part)
			r = end_part(u, err);
		if (r == 0)
			r = read_blob(u, c->packed, err);
		if (r == 0)
			r = put_chunk(u, c, offset, err);
		offset += chunk_bytes(u->file, offset, c);
		if (r == 0)
			r = progress_bytes(step, began + offset, step ? step->total_bytes : 0, err);
	}
	if (r == 0 && step)
		step->done_bytes = began + offset;
	return r < 0 ? r : end_part(u, err);
}

int unpack_file(const struct chunk_index *index, const struct index_file *file,
		const struct blob_at *blobs, int to_fd, struct progress_step *step,
		struct mvm_error *err)
{
	AUTO(frames) frames = frames_new();
	AUTO_FREE uint8_t *packed = malloc(FRAME_MAX_BYTES);
	struct unpacking u = { .file = file,
			       .parts = index->parts + file->first_part,
			       .blobs = blobs,
			       .to_fd = to_fd,
			       .frames = frames,
			       .packed = packed };
	struct mvm_digest digest;

	if (!frames || !packed)
		return mvm_error_oom(err);
	if (ftruncate(to_fd, (off_t)file->bytes) < 0)
		return mvm_error_set(err, -errno, "cannot write '%s': %s", file->name,
				     strerror(errno));
	sha256_init(&u.whole);
	sha256_init(&u.blob);
	int r = unpack_chunks(&u, index->chunks + file->first_chunk, step, err);
	if (r < 0)
		return r;
	sha256_end(&u.whole, &digest);
	return digest_equal(&digest, &file->digest)
		       ? 0
		       : damaged(&u, "it does not have its digest", err);
}
