/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_EXT4_H
#define IMAGE_EXT4_H

/*
 * A file tree as an ext4 image: no root, no mount, no other program; same input, same bytes.
 *
 * The tree describes everything but the contents.  The caller pushes contents file by file, in the
 * order of its source.  They go straight to their final blocks: memory does not grow with file
 * sizes, and the writer writes every byte once.  Sixteen zero blocks in a row (64 KiB, aligned in
 * the file) always become a hole, so that the holes of the host's file system make no difference.
 *
 * Calling sequence: ext4_begin, ext4_write for each file in turn, ext4_finish; ext4_free at any
 * time gives up.  The image has no journal, was never mounted, and can be mounted read-only.
 * The image holds nothing of the host: no clock, no random uuid, no user.
 *
 * Source: the kernel's Documentation/filesystems/ext4; libext2fs 1.47.0.
 */

#include "base/progress.h"
#include "image/tree.h"

struct ext4_writer;

struct ext4_options {
	uint64_t size_bytes; /* of the image, cut to whole blocks; 0: fit the tree, with headroom */
	const char *label;   /* at most 16 bytes; NULL: none */
	bool journal;	     /* it will be written to: a crash must not cost its contents */
	int64_t now;	     /* seconds since 1970 that the superblock carries; 0 reads as 1 */
	struct progress_step *step; /* told of the contents written so far; borrowed; may be NULL */
};

/*
 * Format the image and lay out everything but contents.
 *
 *   fd    a regular file open for reading and writing; emptied first; borrowed until ext4_free
 *   t     a sealed tree; borrowed until ext4_free; its inodes' `ino` is overwritten
 *   ret   the writer, owned by the caller
 *
 * Returns 0; -ENOSPC (size_bytes is too small; the text says how much the tree takes), -EINVAL (the
 * tree holds something that ext4 cannot), -EFBIG, -ENOMEM, or errno of the writes.
 */
int ext4_begin(int fd, struct tree *t, const struct ext4_options *options, struct ext4_writer **ret,
	       struct mvm_error *err);

/*
 * Add contents to a file of the tree.
 *
 *   arg     the struct ext4_writer, untyped so that this is a tree_content_fn
 *   offset  never before the end of earlier contents of this file; a gap reads as zeros
 *
 * Write each file in one go: a return to it after a write to another file is -EINVAL.
 * Returns 0, -EINVAL (also for more than the file's size), -ENOSPC or errno of the writes.
 */
int ext4_write(void *arg, struct tree_node *n, uint64_t offset, const void *data, size_t len,
	       struct mvm_error *err);

/* Write the rest of the image.  Not durable until the caller's fsync. */
int ext4_finish(struct ext4_writer *w, struct mvm_error *err);

void ext4_free(struct ext4_writer *w);
DEFINE_AUTO(ext4_writer, ext4_free)

#endif
