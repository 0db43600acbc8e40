/* SPDX-License-Identifier: Apache-2.0 */
#include "image/layer_path.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define LINKS_MAX 40u /* the kernel's limit */

const char *layer_path_clean(const char *path, struct layer_path *ret)
{
	size_t n = 0;

	ret->name = ret->text;
	for (;;) {
		path += strspn(path, "/");
		size_t len = strcspn(path, "/");
		if (len == 0)
			break;
		if (len > TREE_NAME_MAX)
			return "has a name of more than 255 bytes";
		if (len == 2 && path[0] == '.' && path[1] == '.')
			return "leaves the tree by '..'";
		if (n + len + 2 > sizeof(ret->text))
			return "has a path of more than 4095 bytes";
		if (len != 1 || path[0] != '.') {
			if (n > 0)
				ret->text[n++] = '/';
			ret->name = ret->text + n;
			memcpy(ret->text + n, path, len);
			n += len;
		}
		path += len;
	}
	ret->text[n] = '\0';
	return NULL;
}

/* A walk through the tree: the node that it has reached, and the rest of the path. */
struct walk {
	struct tree_node *at;
	unsigned links;
	char rest[2][2 * TREE_PATH_SIZE]; /* `which` is in use; follow() writes the other */
	unsigned which;
};

/* Follow a symbolic link: walk its target, then the rest of the path. */
static int follow(struct walk *w, const struct tree *t, const char *target, const char *rest)
{
	char *to = w->rest[1 - w->which];

	if (++w->links > LINKS_MAX)
		return -ELOOP;
	int n = snprintf(to, sizeof(w->rest[0]), "%s/%s", target, rest);
	if (n < 0 || (size_t)n >= sizeof(w->rest[0]))
		return -ENAMETOOLONG;
	w->which = 1 - w->which;
	if (target[0] == '/')
		w->at = t->root;
	return 0;
}

int layer_path_parent(struct tree *t, const struct layer_path *path,
		      void (*visit)(void *arg, struct tree_node *folder), layer_make_fn make,
		      void *arg, struct tree_node **ret, struct mvm_error *err)
{
	struct walk w = { .at = t->root };
	char name[TREE_NAME_MAX + 1];

	if (path->name > path->text)
		memcpy(w.rest[0], path->text, (size_t)(path->name - path->text));
	const char *rest = w.rest[0];
	for (;;) {
		if (visit)
			visit(arg, w.at);
		int r = tree_next_name(&rest, name);
		if (r < 0)
			return r;
		if (r == 0)
			break;
		if (strcmp(name, ".") == 0)
			continue;
		if (strcmp(name, "..") == 0) { /* of a link's target; above the root is the root */
			w.at = w.at->parent ? w.at->parent : w.at;
			continue;
		}
		struct tree_node *next = tree_child(w.at, name);
		if (next && next->inode->type == TREE_SYMLINK) {
			r = follow(&w, t, next->inode->target, rest);
			if (r < 0)
				return r;
			rest = w.rest[w.which];
			continue;
		}
		if (!next) {
			r = make ? make(arg, w.at, name, &next, err) : -ENOENT;
			if (r < 0)
				return r;
		}
		if (!next || next->inode->type != TREE_FOLDER)
			return -ENOTDIR;
		w.at = next;
	}
	*ret = w.at;
	return 0;
}
