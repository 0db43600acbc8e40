/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ARTIFACT_INDEX_H
#define ARTIFACT_INDEX_H

/*
 * The chunk index of an artifact: its files, the blobs that hold them, and their chunks.
 *
 * A file lies in one blob or in several parts, each of which has its chunks' frames in the order of
 * the file, and the table of frames.  A small file lies in its blob as it is (`raw`), as one chunk.
 * doc/distribution.md describes the bytes.
 */

#include <mvm/digest.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/own.h"

#define INDEX_MAX_BYTES ((size_t)16 << 20)
#define INDEX_MAX_FILES 32u
#define INDEX_MAX_PARTS 60u /* of all files: registries allow few layers */
#define INDEX_NAME_SIZE 64u

struct index_part {
	struct mvm_digest digest;
	uint64_t bytes;
};

struct index_file {
	char name[INDEX_NAME_SIZE]; /* a path in the revision, "snapshot/mem.bin" */
	uint64_t bytes;
	struct mvm_digest digest;
	bool raw;
	uint32_t first_chunk, n_chunks;
	uint32_t first_part, n_parts;
};

struct index_chunk {
	struct mvm_digest digest; /* of its content; zeros: a hole */
	uint32_t blocks;
	uint32_t packed; /* bytes of its frame */
	uint16_t part;	 /* of its file */
};

struct chunk_index {
	struct index_file files[INDEX_MAX_FILES];
	uint32_t n_files;
	struct index_part parts[INDEX_MAX_PARTS];
	uint32_t n_parts;
	struct index_chunk *chunks;
	uint32_t n_chunks, cap;
};
void chunk_index_done(struct chunk_index *x);
DEFINE_AUTO_DONE(chunk_index, chunk_index_done)

bool chunk_is_hole(const struct index_chunk *c);

/* The bytes of a file's chunk: those of its blocks, less at the file's end.  offset: of the
 * chunk */
uint64_t chunk_bytes(const struct index_file *f, uint64_t offset, const struct index_chunk *c);

/* Add to the last file.  0, -ENOMEM or -EFBIG. */
int chunk_index_add(struct chunk_index *x, const struct index_chunk *chunk);
int chunk_index_add_part(struct chunk_index *x, const struct mvm_digest *digest, uint64_t bytes);

/* Begin a file.  0, or -EFBIG: too many files, or a long name. */
int chunk_index_add_file(struct chunk_index *x, const char *name, uint64_t bytes);

/* The bytes of a file that are in no hole. */
uint64_t chunk_index_data(const struct chunk_index *x, const struct index_file *f);

const struct index_file *chunk_index_find(const struct chunk_index *x, const char *name);

/* The index's bytes; free(3) them. */
int chunk_index_format(const struct chunk_index *x, uint8_t **ret, size_t *ret_len,
		       struct mvm_error *err);

/*
 * Read an index from anywhere.
 *
 *   ret  chunk_index_done() it; empty before
 *
 * Every name is a plain relative path, and every size agrees: chunks with their file, frames and
 * table with their part.  Returns 0, -EBADMSG, -EOPNOTSUPP (a newer format), -EFBIG or -ENOMEM.
 */
int chunk_index_parse(const void *data, size_t len, struct chunk_index *ret, struct mvm_error *err);

#endif
