/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ARTIFACT_ASSEMBLY_H
#define ARTIFACT_ASSEMBLY_H

/*
 * Puts the files of an artifact together from chunks: first from local files that have some of
 * them, then from ranges of the artifact's blobs.
 *
 *	AUTO_DONE(assembly) a = { 0 };
 *	assembly_init(&a, &index, fds, err);
 *	assembly_take_file(&a, fd, &list, ...);		for each local file
 *	assembly_take_packed(&a, fd, ...);		what an earlier run has fetched
 *	assembly_plan(&a, 512, &ranges, err);		what is missing
 *	... fetch the ranges into fd ...
 *	assembly_take_packed(&a, fd, ...);
 *	assembly_check(&a, i, ...);			each file
 *
 * Each chunk is compared with its digest before it is written.  So a list may lie about its file,
 * and the fetched bytes may be any.
 *
 * A packed file is as long as all blobs of the index together, which lie in it one after another.
 * Whatever was not fetched is a hole.
 *
 * Files that are used while they are put together are planned piece by piece: assembly_put_off()
 * all chunks, then assembly_call_for() those that are needed first.
 */

#include "artifact/index.h"
#include "artifact/pack.h"
#include "base/progress.h"

/* A gap of this many bytes is fetched with its neighbours: a request costs more. */
#define ASSEMBLY_GAP_BYTES ((uint64_t)64 << 10)

/* A longer range becomes several, which are fetched at the same time. */
#define ASSEMBLY_RANGE_BYTES ((uint64_t)16 << 20)

struct assembly_place {
	uint64_t offset;    /* of the chunk in its file ... */
	uint64_t packed_at; /* ... and of its frame in a packed file */
	uint32_t file;
	bool is_here;
	bool later; /* missing, but assembly_plan() leaves it out */
};

struct assembly {
	const struct chunk_index *index;
	const int *fds;
	struct assembly_place *places; /* one for each chunk */
	uint32_t *sorted;	       /* chunks of data that are wanted, by their digests */
	uint32_t n_sorted, n_missing;
	uint64_t packed_bytes; /* of a packed file */
	struct frames *frames;
	uint8_t *buf;
	/* told of each chunk that has been written to its file; NULL: nobody wants to know */
	void (*on_put)(void *arg, uint32_t file, uint64_t offset, uint64_t bytes);
	void *arg; /* of on_put */
};
void assembly_done(struct assembly *a);
DEFINE_AUTO_DONE(assembly, assembly_done)

/*
 * Begin.
 *
 *   index  borrowed, as fds is
 *   fds    one for each file of the index: empty, to read and write; -1: the file is not wanted
 */
int assembly_init(struct assembly *a, const struct chunk_index *index, const int *fds,
		  struct mvm_error *err);

/* How many chunks of this file are missing and not put off? */
uint32_t assembly_lacks(const struct assembly *a, const struct index_file *file);

/*
 * Take the missing chunks that a local file has.
 *
 *   list, file  its chunks, as pack_file() or chunks_of_file() gives them
 *   ret_bytes   grows by the bytes of data that were taken
 *
 * Returns 0, -ECANCELED or an errno of writing.  What cannot be read counts as missing.
 */
int assembly_take_file(struct assembly *a, int fd, const struct chunk_index *list,
		       const struct index_file *file, struct progress_step *step,
		       uint64_t *ret_bytes, struct mvm_error *err);

/* Take the missing chunks that a packed file has, except those that were put off.  Errors: as
 * above. */
int assembly_take_packed(struct assembly *a, int fd, struct progress_step *step,
			 struct mvm_error *err);

/* Bytes of a blob. */
struct chunk_range {
	uint32_t part; /* of the index */
	uint64_t from, bytes;
	uint64_t packed_at; /* in a packed file */
};

/* assembly_take_packed() of one range only, and of all its chunks.  Returns how many of them are
 * missing still, so are damaged. */
int assembly_take_range(struct assembly *a, int fd, const struct chunk_range *range,
			struct mvm_error *err);

/* Leave all missing chunks out of plans, or none any more. */
void assembly_put_off(struct assembly *a, bool later);

/* Plan the missing chunks of a part of a file.  Returns how many there are. */
uint32_t assembly_call_for(struct assembly *a, uint32_t file, uint64_t offset, uint64_t bytes);

struct chunk_ranges {
	struct chunk_range *v;
	size_t n;
	uint64_t bytes; /* of all of them */
};
void chunk_ranges_done(struct chunk_ranges *r);
DEFINE_AUTO_DONE(chunk_ranges, chunk_ranges_done)

/*
 * Plan what to fetch: ranges with all missing chunks, in the order of the blobs.  A chunk that is
 * missing twice is in one range.
 *
 *   most  at most so many ranges, if that is no less than the number of blobs: gaps and ranges are
 *         larger if need be
 */
int assembly_plan(const struct assembly *a, size_t most, struct chunk_ranges *ret,
		  struct mvm_error *err);

/* Plan only the first ranges, at most so many, of about `longest` bytes or one chunk each. */
int assembly_plan_first(const struct assembly *a, size_t most, uint64_t longest,
			struct chunk_ranges *ret, struct mvm_error *err);

/* Nothing is missing: compare a file with its digest.  -EBADMSG names it. */
int assembly_check(const struct assembly *a, uint32_t file, struct progress_step *step,
		   struct mvm_error *err);

/* The chunks of a local file, for assembly_take_file(): their digests and sizes, without blobs.
 * They are added to list, as a file of this name. */
int chunks_of_file(const char *name, int fd, struct chunk_index *list, struct progress_step *step,
		   struct mvm_error *err);

#endif
