/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_TAR_ENTRY_H
#define IMAGE_TAR_ENTRY_H

/* How an entry of a tar becomes a file of a tree. */

#include "image/tree.h"
#include "image/unpack.h"

/* One pass over a stream. */
struct tar_reader {
	struct archive *a; /* borrowed */
	const char *name;  /* for messages */
	uint64_t entry;	   /* number of the current one, from 1 */
};

/* -EINVAL: "'<stream>': entry '<path>' <why>". */
int tar_bad_entry(const struct tar_reader *tar, const char *path, const char *why,
		  struct mvm_error *err);

/* -EBUSY: the stream differs from the one that an earlier pass read. */
int tar_changed(const struct tar_reader *tar, struct mvm_error *err);

/* -EINVAL for a type that no tree can hold. */
int tar_entry_type(struct archive_entry *e, enum tree_type *ret);

/* How large a file is, and how much of that the tar holds. */
struct tar_size {
	uint64_t bytes;
	uint64_t stored; /* without the holes of its map */
	uint64_t holes;	 /* whole hole units (TREE_HOLE_UNIT) without a stored byte */
};

/* Returns 0, or -EBADMSG for a size or map of holes that makes no sense. */
int tar_entry_size(const struct tar_reader *tar, const char *path, struct archive_entry *e,
		   struct tar_size *ret, struct mvm_error *err);

/*
 * Copy everything but type, target and size into an inode, and drop its earlier values.
 *
 *   path     of the entry, for messages
 *   content  the inode's, for the pass that reads contents
 *
 * Returns 0; -EINVAL (an owner or device number out of range), -EFBIG or -ENOMEM.
 */
int tar_describe(const struct tar_reader *tar, struct tree *t, struct tree_inode *inode,
		 const char *path, struct archive_entry *e, uint64_t content,
		 struct mvm_error *err);

/* Give the contents of the current entry to fn; n is the entry's file.  Returns 0, -EBADMSG (cut,
 * damaged, or not in the order of the file) or the result of fn. */
int tar_contents(struct tar_reader *tar, struct tree_node *n, tree_content_fn fn, void *arg,
		 struct mvm_error *err);

#endif
