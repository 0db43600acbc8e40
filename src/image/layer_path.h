/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_LAYER_PATH_H
#define IMAGE_LAYER_PATH_H

/*
 * Paths of layers in a tree.
 *
 * A layer may name a file below a symbolic link that an earlier layer made ("bin/tool" where "bin"
 * leads to "usr/bin"), so the walk follows links.  The tree's root counts as "/": no link leads
 * above it.
 */

#include "image/tree.h"

/* A cleaned path: no slash in front or at the end, no "", "." or ".." in it; "" is the root. */
struct layer_path {
	char text[TREE_PATH_SIZE];
	const char *name; /* the last name, in text */
};

/* Clean a path.  Returns NULL, or the path's fault as static text. */
const char *layer_path_clean(const char *path, struct layer_path *ret);

/* Called where a folder on the way is missing: fail, or make the folder. */
typedef int (*layer_make_fn)(void *arg, struct tree_node *parent, const char *name,
			     struct tree_node **ret, struct mvm_error *err);

/*
 * Find the folder that holds a path's last name.
 *
 *   visit  called for every folder on the way, the root and the last one included; may be NULL
 *   make   NULL: -ENOENT where a folder is missing, err is not set
 *   arg    for both
 *
 * Returns 0; -ENOTDIR (leads through something else than a folder), -ELOOP (more than 40 links),
 * -ENAMETOOLONG, or what make returned.  Only make sets err.
 */
int layer_path_parent(struct tree *t, const struct layer_path *path,
		      void (*visit)(void *arg, struct tree_node *folder), layer_make_fn make,
		      void *arg, struct tree_node **ret, struct mvm_error *err);

#endif
