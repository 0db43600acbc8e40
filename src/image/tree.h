/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_TREE_H
#define IMAGE_TREE_H

/*
 * A file tree in memory: everything about files but their contents.
 *
 * Sources (a folder, a tar) fill a tree, writers (ext4) read it.  The tree checks names on the way
 * in and looks up paths only inside itself, so that a hostile archive has nothing to escape to.
 * Every tree is bounded in nodes, depth, text and content.
 *
 * Calling sequence: tree_new, tree_add / tree_make / tree_link / tree_remove in any order,
 * tree_seal, then reading through root and children.  Changes after tree_seal need another
 * tree_seal.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/own.h"

enum tree_type {
	TREE_FILE = 1,
	TREE_FOLDER,
	TREE_SYMLINK,
	TREE_CHAR,
	TREE_BLOCK,
	TREE_FIFO,
	TREE_SOCKET,
};

/* Room for one path in the tree, with its NUL. */
#define TREE_PATH_SIZE 4096u
#define TREE_NAME_MAX  255u

/* A run of this many zero bytes, aligned in the file, becomes a hole. */
#define TREE_HOLE_UNIT 65536u

struct tree_xattr {
	struct tree_xattr *next; /* sorted by name */
	char *name;		 /* with its prefix: "security.capability" */
	void *value;
	size_t len;
};

/* A file, under however many names. */
struct tree_inode {
	enum tree_type type;
	uint32_t mode; /* permission bits, 07777 */
	uint32_t uid, gid;
	uint32_t major, minor; /* devices */
	uint32_t nlink;	       /* names of this file; folders: 2 plus folders in it, once sealed */
	uint32_t ino;	       /* free for the writer */
	int64_t mtime;	       /* seconds since 1970 */
	uint64_t size;	       /* files: bytes; others: 0 */
	uint64_t holes;	  /* bytes of `size` that the source knows to lie in whole hole units */
	uint64_t content; /* tells the source where the contents are; opaque to others */
	char *target;	  /* symbolic links only */
	struct tree_xattr *xattrs;
};

/* One name in the tree. */
struct tree_node {
	struct tree_node *parent; /* NULL for the root, which has the name "" */
	char *name;
	struct tree_inode *inode;    /* shared between the names of a hard-linked file */
	struct tree_node **children; /* folders, once sealed: in byte order of the names */
	size_t n_children;
	uint32_t mark, cleared; /* free for the source */
	void *names;		/* folders: search tree of children; private to tree.c */
};

/* Upper bounds; a 0 stands for the default. */
struct tree_limits {
	size_t nodes;	     /* 4 Mi */
	uint64_t text_bytes; /* names, link targets and xattrs together: 512 MiB */
	uint64_t file_bytes; /* the sizes of all files together: 1 TiB */
	unsigned depth;	     /* 128: readers hold a descriptor for each level */
};

struct tree {
	struct tree_node *root; /* a folder, 0755, owned by root */
	struct tree_limits limits;
	size_t n_nodes;		 /* the root included, hard links too */
	uint64_t text_bytes;	 /* in use */
	uint64_t file_bytes;	 /* in use */
	uint64_t unpacked_bytes; /* of the archives that it was made from */
};

/* limits may be NULL: all defaults.  Returns 0 or -ENOMEM. */
int tree_new(const struct tree_limits *limits, struct tree **ret, struct mvm_error *err);
void tree_free(struct tree *t);
DEFINE_AUTO(tree, tree_free)

/*
 * Add a child to a folder of the tree.
 *
 *   parent  a folder in t; borrowed
 *   name    1 to 255 bytes, neither "." nor "..", no slash; copied
 *   target  where a symbolic link points, 1 to 4095 bytes; NULL for everything else
 *   ret     the new node, owned by t, its inode all zero; the caller fills in the rest
 *
 * Returns 0; -EEXIST (taken, the tree is unchanged), -EINVAL (bad name or target), -EFBIG (over
 * a limit), -ENOMEM.
 */
int tree_add(struct tree *t, struct tree_node *parent, const char *name, enum tree_type type,
	     const char *target, struct tree_node **ret, struct mvm_error *err);

/* Add a further name for the file `to` (not a folder).  Errors as tree_add. */
int tree_link(struct tree *t, struct tree_node *parent, const char *name, struct tree_node *to,
	      struct mvm_error *err);

/* Set a file's size within the limits.  -EFBIG. */
int tree_set_size(struct tree *t, struct tree_inode *i, uint64_t size, struct mvm_error *err);

/* Attach an extended attribute, replacing one of that name; copied.  -EFBIG, -EINVAL, -ENOMEM. */
int tree_set_xattr(struct tree *t, struct tree_inode *i, const char *name, const void *value,
		   size_t len, struct mvm_error *err);

void tree_clear_xattrs(struct tree_inode *i);

/* Remove a name other than the root's, and everything below.  The last name of a file takes the
 * file with it. */
void tree_remove(struct tree *t, struct tree_node *n);

/* The child of that name, or NULL.  Names with a slash, "." and ".." are never found. */
struct tree_node *tree_child(const struct tree_node *folder, const char *name);

/* Take the next name off a path, with the slashes before it; "." and ".." are names too.  Returns
 * its length, 0 at the end of the path, or -ENAMETOOLONG. */
int tree_next_name(const char **path, char ret[TREE_NAME_MAX + 1]);

/*
 * The node at a path: slashes and "." between names do not matter, a ".." is -EINVAL.  Symbolic
 * links are not followed.  Returns 0, -ENOENT, -ENOTDIR (passes through something else than a
 * folder), -EINVAL or -ENAMETOOLONG; ret is set only on success.
 */
int tree_find(const struct tree *t, const char *path, struct tree_node **ret);

/* Bring children, n_children and nlink of all folders up to date.  -ENOMEM. */
int tree_seal(struct tree *t, struct mvm_error *err);

/* tree_seal() for one folder alone.  Later changes in the folder make `children` stale. */
int tree_seal_folder(struct tree_node *folder, struct mvm_error *err);

/*
 * Called by a source with contents of a tree's files.
 *
 *   n       a name of the file
 *   offset  within the file, never before the end of the earlier contents; a gap is zeros
 *
 * Each file comes once and in one go.  Files without contents may not come at all.
 * Returns 0, or a negative errno that stops the source.
 */
typedef int (*tree_content_fn)(void *arg, struct tree_node *n, uint64_t offset, const void *data,
			       size_t len, struct mvm_error *err);

/* "usr/bin/sh", "" for the root. */
void tree_path(const struct tree_node *n, char ret[TREE_PATH_SIZE]);

/* Returns false for names that tree_add refuses. */
bool tree_name_ok(const char *name);

#endif
