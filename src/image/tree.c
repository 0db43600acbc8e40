/* SPDX-License-Identifier: Apache-2.0 */
#include "image/tree.h"

#include <errno.h>
#include <search.h>
#include <string.h>

#define NODES_MAX      ((size_t)4 << 20)
#define TEXT_BYTES_MAX (UINT64_C(512) << 20)
#define FILE_BYTES_MAX (UINT64_C(1) << 40)
#define DEPTH_MAX      128u
#define TARGET_MAX     4095u
#define XATTR_MAX      65536u

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct tree_node *)a)->name, ((const struct tree_node *)b)->name);
}

static void free_xattr(struct tree_xattr *x)
{
	free(x->name);
	free(x->value);
	free(x);
}

void tree_clear_xattrs(struct tree_inode *i)
{
	while (i->xattrs) {
		struct tree_xattr *x = i->xattrs;
		i->xattrs = x->next;
		free_xattr(x);
	}
}

static void free_inode(struct tree_inode *i)
{
	tree_clear_xattrs(i);
	free(i->target);
	free(i);
}

/* Free a name, and with the last name the inode.  A folder has one name only; its nlink counts the
 * folders in it. */
static void free_node(struct tree_node *n)
{
	if (n->inode && (n->inode->type == TREE_FOLDER || --n->inode->nlink == 0))
		free_inode(n->inode);
	free(n->name);
	free(n->children);
	free(n);
}

static void free_below(void *p)
{
	struct tree_node *n = p;
	tdestroy(n->names, free_below);
	free_node(n);
}

static struct tree_node *new_node(const char *name, struct tree_inode *inode)
{
	struct tree_node *n = calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	n->name = strdup(name);
	if (!n->name) {
		free(n);
		return NULL;
	}
	n->inode = inode;
	return n;
}

static struct tree_inode *new_inode(enum tree_type type, const char *target)
{
	struct tree_inode *i = calloc(1, sizeof(*i));
	if (!i)
		return NULL;
	i->type = type;
	i->nlink = type == TREE_FOLDER ? 2 : 0;
	i->target = target ? strdup(target) : NULL;
	if (target && !i->target) {
		free(i);
		return NULL;
	}
	return i;
}

int tree_new(const struct tree_limits *limits, struct tree **ret, struct mvm_error *err)
{
	struct tree *t = calloc(1, sizeof(*t));
	struct tree_inode *inode = new_inode(TREE_FOLDER, NULL);
	struct tree_node *root = new_node("", inode);

	if (!t || !inode || !root) {
		free(t);
		if (root)
			free(root->name);
		free(root);
		free(inode);
		return mvm_error_oom(err);
	}
	if (limits)
		t->limits = *limits;
	if (!t->limits.nodes)
		t->limits.nodes = NODES_MAX;
	if (!t->limits.text_bytes)
		t->limits.text_bytes = TEXT_BYTES_MAX;
	if (!t->limits.file_bytes)
		t->limits.file_bytes = FILE_BYTES_MAX;
	if (!t->limits.depth)
		t->limits.depth = DEPTH_MAX;
	inode->mode = 0755;
	t->root = root;
	t->n_nodes = 1;
	*ret = t;
	return 0;
}

void tree_free(struct tree *t)
{
	if (!t)
		return;
	free_below(t->root);
	free(t);
}

bool tree_name_ok(const char *name)
{
	size_t len = strlen(name);
	return len >= 1 && len <= TREE_NAME_MAX && !strchr(name, '/') && strcmp(name, ".") != 0 &&
	       strcmp(name, "..") != 0;
}

/* Count the names in a node's path, and measure the path. */
static unsigned node_depth(const struct tree_node *n, size_t *ret_len)
{
	unsigned depth = 0;
	size_t len = 0;
	for (; n->parent; n = n->parent) {
		depth++;
		len += strlen(n->name) + 1;
	}
	*ret_len = len;
	return depth;
}

static int charge_text(struct tree *t, size_t len, struct mvm_error *err)
{
	if (len > t->limits.text_bytes - t->text_bytes)
		return mvm_error_set(
			err, -EFBIG,
			"the files' names, links and attributes take more than %llu bytes",
			(unsigned long long)t->limits.text_bytes);
	t->text_bytes += len;
	return 0;
}

static int check_place(const struct tree *t, const struct tree_node *parent, const char *name,
		       struct mvm_error *err)
{
	size_t len;

	if (parent->inode->type != TREE_FOLDER)
		return mvm_error_set(err, -EINVAL, "'%s' is no folder", parent->name);
	if (!tree_name_ok(name))
		return mvm_error_set(err, -EINVAL, "'%s' cannot be a file name", name);
	if (t->n_nodes >= t->limits.nodes)
		return mvm_error_set(err, -EFBIG, "there are more than %zu files", t->limits.nodes);
	if (node_depth(parent, &len) >= t->limits.depth)
		return mvm_error_set(err, -EFBIG, "'%s' is more than %u folders deep", name,
				     t->limits.depth);
	if (len + strlen(name) >= TREE_PATH_SIZE)
		return mvm_error_set(err, -EFBIG, "the path of '%s' is longer than %u bytes", name,
				     TREE_PATH_SIZE - 1);
	return 0;
}

/* Give an inode a name.  Changes nothing on failure. */
static int add_name(struct tree *t, struct tree_node *parent, const char *name,
		    struct tree_inode *inode, struct tree_node **ret, struct mvm_error *err)
{
	int r = check_place(t, parent, name, err);
	if (r < 0)
		return r;
	if (tree_child(parent, name))
		return mvm_error_set(err, -EEXIST, "'%s' exists already", name);
	r = charge_text(t, strlen(name), err);
	if (r < 0)
		return r;

	struct tree_node *n = new_node(name, NULL);
	if (!n)
		return mvm_error_oom(err);
	n->parent = parent;
	if (!tsearch(n, &parent->names, by_name)) {
		free_node(n);
		return mvm_error_oom(err);
	}
	n->inode = inode;
	if (inode->type != TREE_FOLDER)
		inode->nlink++;
	t->n_nodes++;
	*ret = n;
	return 0;
}

int tree_add(struct tree *t, struct tree_node *parent, const char *name, enum tree_type type,
	     const char *target, struct tree_node **ret, struct mvm_error *err)
{
	if (target && (!*target || strlen(target) > TARGET_MAX))
		return mvm_error_set(err, -EINVAL, "the symbolic link '%s' points to %s", name,
				     *target ? "more than 4095 bytes" : "nothing");
	int r = charge_text(t, target ? strlen(target) : 0, err);
	if (r < 0)
		return r;
	struct tree_inode *inode = new_inode(type, target);
	if (!inode)
		return mvm_error_oom(err);
	r = add_name(t, parent, name, inode, ret, err);
	if (r < 0)
		free_inode(inode);
	return r;
}

int tree_link(struct tree *t, struct tree_node *parent, const char *name, struct tree_node *to,
	      struct mvm_error *err)
{
	struct tree_node *n;

	if (to->inode->type == TREE_FOLDER)
		return mvm_error_set(err, -EINVAL, "'%s' is a hard link to a folder", name);
	return add_name(t, parent, name, to->inode, &n, err);
}

int tree_set_size(struct tree *t, struct tree_inode *i, uint64_t size, struct mvm_error *err)
{
	uint64_t others = t->file_bytes - i->size;

	if (size > t->limits.file_bytes - others)
		return mvm_error_set(err, -EFBIG, "the files hold more than %llu bytes",
				     (unsigned long long)t->limits.file_bytes);
	t->file_bytes = others + size;
	i->size = size;
	return 0;
}

int tree_set_xattr(struct tree *t, struct tree_inode *i, const char *name, const void *value,
		   size_t len, struct mvm_error *err)
{
	if (!*name || strlen(name) > TREE_NAME_MAX || len > XATTR_MAX)
		return mvm_error_set(err, -EINVAL, "the attribute '%s' is too large", name);
	int r = charge_text(t, strlen(name) + len, err);
	if (r < 0)
		return r;

	struct tree_xattr *x = calloc(1, sizeof(*x));
	if (!x)
		return mvm_error_oom(err);
	x->name = strdup(name);
	x->value = malloc(len ? len : 1);
	x->len = len;
	if (!x->name || !x->value) {
		free_xattr(x);
		return mvm_error_oom(err);
	}
	if (len)
		memcpy(x->value, value, len);

	struct tree_xattr **at = &i->xattrs;
	while (*at && strcmp((*at)->name, name) < 0)
		at = &(*at)->next;
	if (*at && strcmp((*at)->name, name) == 0) {
		struct tree_xattr *old = *at;
		x->next = old->next;
		free_xattr(old);
	} else
		x->next = *at;
	*at = x;
	return 0;
}

void tree_remove(struct tree *t, struct tree_node *n)
{
	while (n->names)
		tree_remove(t, *(struct tree_node **)n->names);
	tdelete(n, &n->parent->names, by_name);
	if (n->inode->nlink == 1)
		t->file_bytes -= n->inode->size;
	t->n_nodes--;
	free_node(n);
}

struct tree_node *tree_child(const struct tree_node *folder, const char *name)
{
	/* tfind() only reads the key's name, so the cast is safe */
	struct tree_node key = { .name = (char *)(uintptr_t)name };
	void *found = tfind(&key, (void *const *)&folder->names, by_name);
	return found ? *(struct tree_node **)found : NULL;
}

int tree_next_name(const char **path, char ret[TREE_NAME_MAX + 1])
{
	const char *name = *path + strspn(*path, "/");
	size_t len = strcspn(name, "/");

	if (len > TREE_NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(ret, name, len);
	ret[len] = '\0';
	*path = name + len;
	return (int)len;
}

int tree_find(const struct tree *t, const char *path, struct tree_node **ret)
{
	struct tree_node *n = t->root;
	char name[TREE_NAME_MAX + 1];
	int r;

	while ((r = tree_next_name(&path, name)) > 0) {
		if (strcmp(name, ".") == 0)
			continue;
		if (strcmp(name, "..") == 0)
			return -EINVAL;
		if (n->inode->type != TREE_FOLDER)
			return -ENOTDIR;
		n = tree_child(n, name);
		if (!n)
			return -ENOENT;
	}
	if (r < 0)
		return r;
	*ret = n;
	return 0;
}

struct sealing {
	struct tree_node *folder;
	size_t n, cap;
	bool failed;
};

static void collect(const void *nodep, VISIT which, void *arg)
{
	struct tree_node *n = *(struct tree_node *const *)nodep;
	struct sealing *s = arg;

	if ((which != postorder && which != leaf) || s->failed)
		return;
	if (s->n == s->cap) {
		size_t cap = s->cap ? 2 * s->cap : 8;
		struct tree_node **children = realloc(s->folder->children,
						      cap * sizeof(struct tree_node *));
		if (!children) {
			s->failed = true;
			return;
		}
		s->folder->children = children;
		s->cap = cap;
	}
	s->folder->children[s->n++] = n;
	if (n->inode->type == TREE_FOLDER)
		s->folder->inode->nlink++;
}

static int seal_folder(struct tree_node *folder)
{
	struct sealing s = { .folder = folder };

	free(folder->children);
	folder->children = NULL;
	folder->inode->nlink = 2;
	twalk_r(folder->names, collect, &s);
	folder->n_children = s.n;
	return s.failed ? -ENOMEM : 0;
}

static int seal_below(struct tree_node *folder)
{
	if (seal_folder(folder) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < folder->n_children; i++) {
		if (folder->children[i]->inode->type != TREE_FOLDER)
			continue;
		int r = seal_below(folder->children[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

int tree_seal(struct tree *t, struct mvm_error *err)
{
	return seal_below(t->root) < 0 ? mvm_error_oom(err) : 0;
}

int tree_seal_folder(struct tree_node *folder, struct mvm_error *err)
{
	return seal_folder(folder) < 0 ? mvm_error_oom(err) : 0;
}

void tree_path(const struct tree_node *n, char ret[TREE_PATH_SIZE])
{
	size_t end;
	node_depth(n, &end); /* check_place() keeps it below TREE_PATH_SIZE */

	ret[0] = '\0';
	for (size_t at = end; n->parent; n = n->parent) {
		size_t len = strlen(n->name);
		at -= len + 1;
		memcpy(ret + at, n->name, len);
		ret[at + len] = at + len + 1 == end ? '\0' : '/';
	}
}
