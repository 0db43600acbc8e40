/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ARTIFACT_PACK_H
#define ARTIFACT_PACK_H

/* Files to blobs, and blobs back to files. */

#include "artifact/index.h"
#include "base/progress.h"

/* A blob has at most this many bytes of frames: registries refuse larger uploads. */
#define PACK_PART_BYTES ((uint64_t)512 << 20)

/* Files of fewer bytes are stored as they are. */
#define PACK_RAW_BYTES 65536u

/* Where blobs go, one after another.  Each function returns 0 or a negative errno with a text. */
struct blob_sink {
	int (*begin)(void *arg, struct mvm_error *err);
	int (*write)(void *arg, const void *data, size_t len, struct mvm_error *err);
	/* the blob is whole */
	int (*end)(void *arg, const struct mvm_digest *digest, uint64_t bytes,
		   struct mvm_error *err);
	void *arg;
	uint64_t part_bytes; /* 0: PACK_PART_BYTES; tests use less */
};

/* The blobs that a sink has, each once: parts of files, documents, and a signature's. */
struct blob_list {
	struct index_part v[INDEX_MAX_PARTS + 8];
	size_t n;
};

/* Returns 1; 0 if the blob is listed already; -EFBIG. */
int blob_list_add(struct blob_list *l, const struct mvm_digest *digest, uint64_t bytes);

/* Write a blob whose bytes are at hand. */
int blob_write(const struct blob_sink *sink, const void *data, size_t len, struct mvm_digest *ret,
	       struct mvm_error *err);

/*
 * Pack a file into blobs, and add it to an index.
 *
 *   name  its path in the revision
 *   fd    a regular file; read from its start to its end
 *   step  gets the progress, which goes on from its done_bytes; may be NULL
 *
 * The same bytes give the same blobs.  Errors: -EFBIG, -ECANCELED, those of reading and the sink.
 */
int pack_file(const char *name, int fd, const struct blob_sink *sink, struct chunk_index *index,
	      struct progress_step *step, struct mvm_error *err);

/* A blob in an open file. */
struct blob_at {
	int fd;
	uint64_t offset;
};

/*
 * Unpack a file of an index.
 *
 *   blobs  one for each part of the file, of the size that the index gives
 *   to_fd  an empty file, opened to read and write; holes stay holes
 *   step   as above
 *
 * Each chunk is compared with its digest before it is written, each blob with its own, and the file
 * with its digest at the end.  Errors: -EBADMSG naming the file and what is damaged, -ECANCELED,
 * those of reading and writing.
 */
int unpack_file(const struct chunk_index *index, const struct index_file *file,
		const struct blob_at *blobs, int to_fd, struct progress_step *step,
		struct mvm_error *err);

#endif
