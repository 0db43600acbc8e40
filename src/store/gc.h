/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_GC_H
#define STORE_GC_H

/*
 * Garbage collection of blobs, by their number of links.
 *
 * Revisions, staging folders and kernels hold hard links to blobs.  So a blob with one link is only
 * used by the build cache, or not at all.  The collection first drops the cached builds whose
 * artifacts have no other user, then the images from registries that no remaining build names
 * (store/images.h) and the beginnings of blobs that nobody fetches, then all blobs with one link. A
 * user of a blob links it first; a blob that is removed at that very moment only loses its own
 * name.
 *
 * Sequence of a prune.  A dry run only counts and changes nothing:
 *
 *	struct gc gc = { .store = s, .dry_run = ... };
 *	for each revision to be removed:
 *		gc_count_revision(&gc, dir_fd, &bytes, err);
 *		store_removal_add(s, &removal, revision, err);	not in a dry run
 *	gc_collect(&gc, err);
 *	gc_done(&gc);
 *
 * Only files that mvm made are removed: the caller's regular files with mode 0444 and a digest as
 * name.
 *
 * On a file system without hard links every blob has one link; revisions then have copies.
 */

#include "store/inodes.h"
#include "store/store.h"

struct gc {
	struct store *store;		     /* borrowed */
	const struct mvm_progress *progress; /* stops the wait for the lock; may be NULL */
	bool dry_run;
	struct inodes gone; /* links of shared files that a dry run counts away */
	struct strv images; /* digests of the images that the remaining builds name */
	size_t n_cached, n_blobs;
	uint64_t freed_bytes; /* by gc_collect(): on disk */
};

void gc_done(struct gc *gc);
DEFINE_AUTO_DONE(gc, gc_done)

/* Bytes that removing a revision frees at once: files without another name.  Call it before the
 * removal. */
int gc_count_revision(struct gc *gc, int dir_fd, uint64_t *ret_bytes, struct mvm_error *err);

/* Collect.  Takes the store lock. */
int gc_collect(struct gc *gc, struct mvm_error *err);

#endif
