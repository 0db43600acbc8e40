/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_GC_H
#define STORE_GC_H

/*
 * Garbage: blobs that nothing names, judged by their number of links.
 *
 * Revisions, staging folders and kernels hold hard links to blobs, so a blob with one link is
 * named only by the build cache, or by nobody.  First go the cache's builds whose artifacts have
 * no other user left, then all blobs of one link that no remaining build names.  Whoever is about
 * to use a blob links it first; a blob that goes in that very moment only loses its own name.
 *
 * How a prune goes, also as a dry run, which counts what would go and changes nothing:
 *
 *	struct gc gc = { .store = s, .dry_run = ... };
 *	for each revision to be removed:
 *		gc_count_revision(&gc, dir_fd, &bytes, err);
 *		store_removal_add(s, &removal, revision, err);	not in a dry run
 *	gc_collect(&gc, err);
 *	gc_done(&gc);
 *
 * Only files that mvm made go: plain ones of the caller's with mode 0444 and a digest as name.
 *
 * Where the file system makes no links every blob has one link; revisions then have copies.
 */

#include "store/inodes.h"
#include "store/store.h"

struct gc {
	struct store *store; /* borrowed */
	bool dry_run;
	struct inodes gone; /* links of shared files that a dry run counts away */
	size_t n_cached, n_blobs;
	uint64_t freed_bytes; /* by gc_collect(): on disk */
};

void gc_done(struct gc *gc);
DEFINE_AUTO_DONE(gc, gc_done)

/* What removing a revision frees at once: files that have no other name.  Call it before. */
int gc_count_revision(struct gc *gc, int dir_fd, uint64_t *ret_bytes, struct mvm_error *err);

/* Collect.  Takes the store lock. */
int gc_collect(struct gc *gc, struct mvm_error *err);

#endif
