/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_INODES_H
#define STORE_INODES_H

/*
 * Facts about files, by inode.  Blobs are hard-linked into many revisions; this table lets work on
 * them be done, and their bytes be counted, once.
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
	bool used;     /* this slot of the table is in use */
	bool digested; /* `digest` is set */
	struct mvm_digest digest;
	uint32_t links; /* number of its names that a dry run counted away */
};

struct inodes {
	struct inode *slots;
	size_t n, size; /* size is a power of two, or 0 */
};

void inodes_done(struct inodes *t);
DEFINE_AUTO_DONE(inodes, inodes_done)

/* The entry of a file, added if missing; valid until the next call.  NULL: out of memory. */
struct inode *inodes_get(struct inodes *t, const struct stat *st);

/* The entry of a file; NULL: none. */
struct inode *inodes_find(const struct inodes *t, const struct stat *st);

#endif
