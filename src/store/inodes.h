/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_INODES_H
#define STORE_INODES_H

/*
 * What is known of files by their inode: blobs are hard-linked into many revisions, and work on
 * them should be done, and their bytes counted, once.
 */

#include <mvm/digest.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/own.h"

struct inode {
	dev_t dev;
	ino_t ino;
	bool used;     /* this slot of the table is */
	bool digested; /* `digest` is that of the content */
	struct mvm_digest digest;
	uint32_t links; /* how many of its names were counted away */
};

struct inodes {
	struct inode *slots;
	size_t n, size; /* size is a power of two, or 0 */
};

void inodes_done(struct inodes *t);
DEFINE_AUTO_DONE(inodes, inodes_done)

/* The entry of a file, added when it is new; good until the next call.  NULL: out of memory. */
struct inode *inodes_get(struct inodes *t, const struct stat *st);

/* The entry of a file, or NULL when there is none. */
struct inode *inodes_find(const struct inodes *t, const struct stat *st);

#endif
