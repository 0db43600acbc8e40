/* SPDX-License-Identifier: Apache-2.0 */
#include "image/layer.h"

#include <errno.h>
#include <string.h>

#include "base/str.h"
#include "image/layer_internal.h"
#include "image/layer_path.h"

#define ENTRIES_MAX	(UINT64_C(4) << 20)
#define FILE_BYTES_MAX	((UINT64_C(16) << 40) - 4096) /* the largest file of ext4 */
#define WHITEOUT	".wh."
#define AUFS_NOTE	".wh..wh."
#define AUFS_LINKS	".wh..wh.plnk"
#define WHITEOUT_OPAQUE ".wh..wh..opq"
#define DEFAULT_MODE	0755u

struct merge {
	const struct tar_reader *tar; /* of the current layer */
	struct tree *tree;
	struct layer_limits limits;
	struct unpack_budget budget;
	int64_t mtime;
	bool whole;	/* the current layer has no whiteouts */
	uint32_t layer; /* from 1; the mark of every name that the layer touched */
	uint64_t entries;
};

struct layer_limits layer_limits_get(const struct layer_limits *limits,
				     const struct layer_source *layers, size_t n)
{
	struct layer_limits l = limits ? *limits : (struct layer_limits){ 0 };
	uint64_t packed = 0;

	for (size_t i = 0; i < n; i++)
		packed += layers[i].size;
	l.entries = l.entries ? l.entries : ENTRIES_MAX;
	l.unpacked_bytes = l.unpacked_bytes ? l.unpacked_bytes : unpack_limit(packed);
	l.tree.file_bytes = l.tree.file_bytes ? l.tree.file_bytes : FILE_BYTES_MAX;
	return l;
}

static int bad(const struct merge *m, const char *path, const char *why, struct mvm_error *err)
{
	return tar_bad_entry(m->tar, path, why, err);
}

static uint64_t content_id(const struct merge *m)
{
	return LAYER_CONTENT(m->layer, m->tar->entry);
}

static int make_folder(void *arg, struct tree_node *parent, const char *name,
		       struct tree_node **ret, struct mvm_error *err)
{
	struct merge *m = arg;

	int r = tree_add(m->tree, parent, name, TREE_FOLDER, NULL, ret, err);
	if (r < 0)
		return mvm_error_context(err, r, "'%s'", m->tar->name);
	(*ret)->inode->mode = DEFAULT_MODE;
	(*ret)->inode->mtime = m->mtime;
	return 0;
}

static void touch(void *arg, struct tree_node *folder)
{
	folder->mark = ((const struct merge *)arg)->layer;
}

/* Find or make the folder of a path's last name. */
static int place(struct merge *m, const struct layer_path *path, const char *as_given,
		 struct tree_node **ret, struct mvm_error *err)
{
	int r = layer_path_parent(m->tree, path, touch, make_folder, m, ret, err);
	switch (r) {
	case -ENOTDIR:
		return bad(m, as_given, "has a parent that is no folder", err);
	case -ELOOP:
		return bad(m, as_given, "is behind more than 40 symbolic links", err);
	case -ENAMETOOLONG:
		return bad(m, as_given, "is behind links to a path that is too long", err);
	default:
		return r;
	}
}

/* Remove the names in a folder that earlier layers made.  Once per layer is enough: later names are
 * the layer's own, and each of its entries may ask for the removal. */
static int clear_folder(struct merge *m, struct tree_node *folder, struct mvm_error *err)
{
	if (folder->cleared == m->layer)
		return 0;
	int r = tree_seal_folder(folder, err);
	folder->cleared = m->layer;

	for (size_t i = 0; r == 0 && i < folder->n_children; i++) {
		struct tree_node *n = folder->children[i];
		if (n->mark != m->layer)
			tree_remove(m->tree, n);
		else if (n->inode->type == TREE_FOLDER)
			r = clear_folder(m, n, err);
	}
	folder->n_children = 0; /* `children` is out of date now */
	return r;
}

/* Is the path one of aufs's notes, or below one? */
static bool is_aufs_note(const struct layer_path *path)
{
	for (const char *at = path->text; at; at = strchr(at, '/')) {
		at += *at == '/';
		if (str_starts(at, AUFS_NOTE))
			return !(at == path->name && str_eq(at, WHITEOUT_OPAQUE));
	}
	return false;
}

/* Is the path aufs's folder of files with several names, or in it? */
static bool is_aufs_link(const struct layer_path *path)
{
	const size_t len = strlen(AUFS_LINKS);
	return str_starts(path->text, AUFS_LINKS) && (!path->text[len] || path->text[len] == '/');
}

/* Hide a name of an earlier layer.  Names of this layer stay. */
static int whiteout(struct merge *m, const struct layer_path *path, const char *as_given,
		    struct mvm_error *err)
{
	const char *name = path->name + strlen(WHITEOUT);
	struct tree_node *parent, *n;
	bool opaque = strcmp(path->name, WHITEOUT_OPAQUE) == 0;

	if (!opaque && !tree_name_ok(name))
		return bad(m, as_given, "is a whiteout of an impossible name", err);
	int r = layer_path_parent(m->tree, path, NULL, NULL, NULL, &parent, NULL);
	if (r < 0) /* there is nothing to hide */
		return 0;
	n = opaque ? parent : tree_child(parent, name);
	if (!n)
		return 0;
	if (!opaque && n->mark != m->layer)
		tree_remove(m->tree, n);
	else if (n->inode->type == TREE_FOLDER)
		return clear_folder(m, n, err);
	return 0;
}

static bool is_within(const struct tree_node *n, const struct tree_node *folder)
{
	while (n && n != folder)
		n = n->parent;
	return n;
}

static int add_hard_link(struct merge *m, struct tree_node *parent, const char *name,
			 const char *as_given, const char *target, struct mvm_error *err)
{
	struct tree_node *holder, *to = NULL, *old = tree_child(parent, name);
	struct layer_path path;

	const char *problem = layer_path_clean(target, &path);
	if (problem)
		return mvm_error_set(err, -EINVAL, "'%s': entry '%s': its target '%s' %s",
				     m->tar->name, as_given, target, problem);
	if (layer_path_parent(m->tree, &path, NULL, NULL, NULL, &holder, NULL) == 0)
		to = tree_child(holder, path.name);
	if (!to)
		return bad(m, as_given, "is a hard link to a file that does not precede it", err);
	if (to->inode->type == TREE_FOLDER)
		return bad(m, as_given, "is a hard link to a folder", err);
	if (old && old->inode == to->inode) {
		old->mark = m->layer;
		return 0;
	}
	if (old && is_within(to, old))
		return bad(m, as_given, "replaces the folder that holds its target", err);
	if (old)
		tree_remove(m->tree, old);
	int r = tree_link(m->tree, parent, name, to, err);
	if (r < 0)
		return mvm_error_context(err, r, "'%s'", m->tar->name);
	tree_child(parent, name)->mark = m->layer;
	return 0;
}

/* Get the size of an entry's file, and refuse a file over the budget before reading it. */
static int get_size(struct merge *m, const char *as_given, struct archive_entry *e,
		    struct tar_size *ret, struct mvm_error *err)
{
	struct unpack_budget ahead = m->budget;

	int r = tar_entry_size(m->tar, as_given, e, ret, err);
	if (r < 0)
		return r;
	r = unpack_charge(&ahead, ret->stored, err);
	return r < 0 ? mvm_error_context(err, r, "'%s': entry '%s'", m->tar->name, as_given) : 0;
}

/* Add an entry that is not a hard link. */
static int add_file(struct merge *m, struct tree_node *parent, const char *name,
		    const char *as_given, enum tree_type type, struct archive_entry *e,
		    struct mvm_error *err)
{
	const char *target = type == TREE_SYMLINK ? archive_entry_symlink(e) : NULL;
	struct tree_node *n = *name ? tree_child(parent, name) : m->tree->root;
	struct tar_size size = { 0 };

	if (type == TREE_SYMLINK && str_empty(target))
		return bad(m, as_given, "is a symbolic link to nothing", err);
	int r = type == TREE_FILE ? get_size(m, as_given, e, &size, err) : 0;
	if (r < 0)
		return r;
	if (n && (type != TREE_FOLDER || n->inode->type != TREE_FOLDER)) {
		tree_remove(m->tree, n);
		n = NULL;
	}
	if (!n)
		r = tree_add(m->tree, parent, name, type, target, &n, err);
	if (r == 0)
		r = tree_set_size(m->tree, n->inode, size.bytes, err);
	if (r < 0)
		return mvm_error_context(err, r, "'%s': entry '%s'", m->tar->name, as_given);
	n->mark = m->layer;
	n->inode->holes = size.holes;
	return tar_describe(m->tar, m->tree, n->inode, as_given, e, content_id(m), err);
}

static int merge_entry(struct merge *m, struct archive_entry *e, struct mvm_error *err)
{
	const char *as_given = archive_entry_pathname(e);
	const char *target = archive_entry_hardlink(e);
	struct tree_node *parent;
	struct layer_path path;
	enum tree_type type;

	if (!as_given)
		return mvm_error_set(err, -EBADMSG, "'%s' is damaged: entry %llu has no name",
				     m->tar->name, (unsigned long long)m->tar->entry);
	const char *problem = layer_path_clean(as_given, &path);
	if (problem)
		return bad(m, as_given, problem, err);
	bool plain = m->whole || is_aufs_link(&path);
	if (!plain && is_aufs_note(&path))
		return 0;
	if (!plain && str_starts(path.name, WHITEOUT))
		return whiteout(m, &path, as_given, err);
	if (!target && tar_entry_type(e, &type) < 0)
		return bad(m, as_given, "is of an unknown type", err);
	if (!*path.name && (target || type != TREE_FOLDER))
		return bad(m, as_given, "replaces the root folder with another kind of file", err);
	int r = place(m, &path, as_given, &parent, err);
	if (r < 0)
		return r;
	return target ? add_hard_link(m, parent, path.name, as_given, target, err)
		      : add_file(m, parent, path.name, as_given, type, e, err);
}

static int merge_stream(struct merge *m, const struct layer_source *layer, struct layer_stream *s,
			struct mvm_error *err)
{
	struct archive_entry *e;
	int r;

	while ((r = layer_stream_next(s, &e, err)) > 0) {
		if (++m->entries > m->limits.entries)
			return mvm_error_set(err, -EFBIG,
					     "'%s': the layers have more than %llu entries",
					     layer->name, (unsigned long long)m->limits.entries);
		r = merge_entry(m, e, err);
		if (r < 0)
			return r;
	}
	return r < 0 ? r : layer_stream_finish(s, err);
}

static int merge_layer(struct merge *m, const struct layer_source *layer, struct mvm_error *err)
{
	AUTO_DONE(layer_stream) s = { 0 };

	int r = layer_stream_open(&s, layer, &m->budget, err);
	if (r < 0)
		return r;
	m->tar = &s.tar;
	m->whole = layer->whole;
	r = merge_stream(m, layer, &s, err);
	m->tar = NULL;
	struct tree_node *links = tree_child(m->tree->root, AUFS_LINKS);
	if (links && !m->whole)
		tree_remove(m->tree, links);
	return r;
}

int layers_scan(const struct layer_source *layers, size_t n, int64_t mtime,
		const struct layer_limits *limits, struct tree **ret, struct mvm_error *err)
{
	AUTO(tree) t = NULL;
	struct merge m = { .limits = layer_limits_get(limits, layers, n), .mtime = mtime };

	m.budget.limit = m.limits.unpacked_bytes;
	int r = tree_new(&m.limits.tree, &t, err);
	if (r < 0)
		return r;
	m.tree = t;
	t->root->inode->mtime = mtime;
	for (size_t i = 0; i < n; i++) {
		m.layer = (uint32_t)i + 1;
		r = merge_layer(&m, &layers[i], err);
		if (r < 0)
			return r;
	}
	t->unpacked_bytes = m.budget.used;
	r = tree_seal(t, err);
	if (r == 0)
		*ret = TAKE_PTR(t);
	return r;
}
