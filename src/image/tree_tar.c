/* SPDX-License-Identifier: Apache-2.0 */
#include "image/tree_tar.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "image/tar_entry.h"

#define READ_BLOCK 131072u

/* One pass over a stream. */
struct pass {
	struct tar_reader tar;
	struct tree *tree;
	int64_t mtime;
	uint64_t file_bytes; /* of all entries so far, replaced ones too */
};

static struct archive *new_reader(void)
{
	struct archive *a = archive_read_new();
	if (a) {
		unpack_allow_filters(a);
		(void)archive_read_support_format_tar(a); /* lack of memory shows on opening */
	}
	return a;
}

/* Find the folder that holds a path's last name; make what is missing. */
static int find_parent(struct pass *p, const char *path, struct tree_node **ret_parent,
		       char ret_name[TREE_NAME_MAX + 1], struct mvm_error *err)
{
	struct tree_node *folder = p->tree->root;
	const char *at = path;

	ret_name[0] = '\0';
	for (;;) {
		at += strspn(at, "/");
		size_t len = strcspn(at, "/");
		if (len == 0)
			break;
		if (len > TREE_NAME_MAX)
			return tar_bad_entry(&p->tar, path, "has a name of more than 255 bytes",
					     err);
		if (len == 1 && at[0] == '.') {
			at += len;
			continue;
		}
		if (*ret_name) {
			struct tree_node *next = tree_child(folder, ret_name);
			int r = next ? 0
				     : tree_add(p->tree, folder, ret_name, TREE_FOLDER, NULL, &next,
						err);
			if (r < 0)
				return mvm_error_context(err, r, "'%s'", p->tar.name);
			if (next->inode->type != TREE_FOLDER)
				return tar_bad_entry(&p->tar, path,
						     "lies in something that is no folder", err);
			if (next->inode->mode == 0 && next->inode->content == 0) {
				next->inode->mode = 0755;
				next->inode->mtime = p->mtime;
				next->inode->content = p->tar.entry;
			}
			folder = next;
		}
		memcpy(ret_name, at, len);
		ret_name[len] = '\0';
		if (strcmp(ret_name, "..") == 0)
			return tar_bad_entry(&p->tar, path, "leaves the tree by '..'", err);
		at += len;
	}
	*ret_parent = folder;
	return 0;
}

static int add_hard_link(struct pass *p, struct tree_node *parent, const char *name,
			 const char *path, const char *target, struct mvm_error *err)
{
	struct tree_node *to, *old = tree_child(parent, name);

	if (tree_find(p->tree, target, &to) == 0 && to == old)
		return 0;
	if (old)
		tree_remove(p->tree, old); /* which may have held the target */
	if (tree_find(p->tree, target, &to) < 0)
		return tar_bad_entry(&p->tar, path,
				     "is a hard link to something that did not come before it",
				     err);
	int r = tree_link(p->tree, parent, name, to, err);
	return r < 0 ? mvm_error_context(err, r, "'%s'", p->tar.name) : 0;
}

static int charge_size(struct pass *p, la_int64_t size, struct mvm_error *err)
{
	uint64_t limit = p->tree->limits.file_bytes;

	if (size < 0 || (uint64_t)size > limit - p->file_bytes)
		return mvm_error_set(err, -EFBIG, "'%s' holds more than %llu bytes of files",
				     p->tar.name, (unsigned long long)limit);
	p->file_bytes += (uint64_t)size;
	return 0;
}

static int scan_entry(struct pass *p, struct archive_entry *e, struct mvm_error *err)
{
	const char *path = archive_entry_pathname(e);
	const char *target = archive_entry_hardlink(e);
	struct tree_node *parent = NULL, *n;
	char name[TREE_NAME_MAX + 1];
	enum tree_type type;

	if (!path)
		return mvm_error_set(err, -EBADMSG, "'%s' is damaged: entry %llu has no name",
				     p->tar.name, (unsigned long long)p->tar.entry);
	int r = find_parent(p, path, &parent, name, err);
	if (r < 0)
		return r;
	if (target)
		return *name ? add_hard_link(p, parent, name, path, target, err)
			     : tar_bad_entry(&p->tar, path, "makes the root a link", err);
	if (tar_entry_type(e, &type) < 0)
		return tar_bad_entry(&p->tar, path, "is of an unknown type", err);
	n = *name ? tree_child(parent, name) : p->tree->root;
	if (!*name && type != TREE_FOLDER)
		return tar_bad_entry(&p->tar, path, "makes the root something else than a folder",
				     err);

	if (n && (type != TREE_FOLDER || n->inode->type != TREE_FOLDER)) {
		tree_remove(p->tree, n);
		n = NULL;
	}
	if (!n)
		r = tree_add(p->tree, parent, name, type,
			     type == TREE_SYMLINK ? archive_entry_symlink(e) : NULL, &n, err);
	if (r == 0 && type == TREE_SYMLINK && !n->inode->target)
		return tar_bad_entry(&p->tar, path, "is a symbolic link to nothing", err);
	if (r == 0 && type == TREE_FILE) {
		r = charge_size(p, archive_entry_size(e), err);
		if (r < 0)
			return r;
		r = tree_set_size(p->tree, n->inode, (uint64_t)archive_entry_size(e), err);
	}
	if (r < 0)
		return mvm_error_context(err, r, "'%s': entry '%s'", p->tar.name, path);
	return tar_describe(&p->tar, p->tree, n->inode, path, e, p->tar.entry, err);
}

static int scan(struct pass *p, struct mvm_error *err)
{
	struct archive_entry *e;
	int r;

	while ((r = tar_next(&p->tar, &e, err)) > 0) {
		/* replaced entries leave no nodes behind, but their number is bounded as well */
		if (p->tar.entry / 4 > p->tree->limits.nodes)
			return mvm_error_set(err, -EFBIG, "'%s' has more than %llu entries",
					     p->tar.name, (unsigned long long)p->tar.entry);
		r = scan_entry(p, e, err);
		if (r < 0)
			return r;
	}
	return r < 0 ? r : tree_seal(p->tree, err);
}

static int scan_opened(struct archive *a, const char *tar_name, int64_t mtime,
		       const struct tree_limits *limits, struct tree **ret, struct mvm_error *err)
{
	AUTO(tree) t = NULL;

	int r = tree_new(limits, &t, err);
	if (r < 0)
		return r;
	struct pass p = { .tar = { .a = a, .name = tar_name }, .tree = t, .mtime = mtime };
	t->root->inode->mtime = mtime;
	r = scan(&p, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(t);
	return 0;
}

static int open_fd(struct archive *a, int fd, const char *tar_name, struct mvm_error *err)
{
	if (lseek(fd, 0, SEEK_SET) < 0)
		return mvm_error_set(err, -errno, "cannot read '%s': %s", tar_name,
				     strerror(errno));
	return archive_read_open_fd(a, fd, READ_BLOCK) == ARCHIVE_OK
		       ? 0
		       : unpack_failed(a, tar_name, err);
}

int tree_tar_scan(int fd, const char *tar_name, int64_t mtime, const struct tree_limits *limits,
		  struct tree **ret, struct mvm_error *err)
{
	AUTO(archive) a = new_reader();
	if (!a)
		return mvm_error_oom(err);
	int r = open_fd(a, fd, tar_name, err);
	return r < 0 ? r : scan_opened(a, tar_name, mtime, limits, ret, err);
}

int tree_tar_scan_buf(const void *data, size_t len, const char *tar_name, int64_t mtime,
		      const struct tree_limits *limits, struct tree **ret, struct mvm_error *err)
{
	AUTO(archive) a = new_reader();
	if (!a)
		return mvm_error_oom(err);
	if (archive_read_open_memory(a, data, len) != ARCHIVE_OK)
		return unpack_failed(a, tar_name, err);
	return scan_opened(a, tar_name, mtime, limits, ret, err);
}

/* Which name has the contents of which entry. */
struct by_entry {
	struct tree_node **nodes; /* [entry number] */
	uint64_t n;
};

static uint64_t last_entry(const struct tree_node *folder)
{
	uint64_t last = 0;
	for (size_t i = 0; i < folder->n_children; i++) {
		const struct tree_node *n = folder->children[i];
		uint64_t entry = n->inode->type == TREE_FOLDER ? last_entry(n) : n->inode->content;
		if (entry > last)
			last = entry;
	}
	return last;
}

static void index_entries(struct by_entry *index, struct tree_node *folder)
{
	for (size_t i = 0; i < folder->n_children; i++) {
		struct tree_node *n = folder->children[i];
		if (n->inode->type == TREE_FOLDER)
			index_entries(index, n);
		else if (n->inode->type == TREE_FILE)
			index->nodes[n->inode->content] = n;
	}
}

int tree_tar_read(int fd, const char *tar_name, struct tree *t, tree_content_fn fn, void *arg,
		  struct mvm_error *err)
{
	AUTO(archive) a = new_reader();
	struct archive_entry *e;

	if (!a)
		return mvm_error_oom(err);
	int r = open_fd(a, fd, tar_name, err);
	if (r < 0)
		return r;
	struct pass p = { .tar = { .a = a, .name = tar_name }, .tree = t };
	struct by_entry index = { .n = last_entry(t->root) + 1 };
	AUTO_FREE struct tree_node **nodes = calloc(index.n, sizeof(struct tree_node *));
	if (!nodes)
		return mvm_error_oom(err);
	index.nodes = nodes;
	index_entries(&index, t->root);

	while ((r = tar_next(&p.tar, &e, err)) > 0) {
		struct tree_node *n = p.tar.entry < index.n ? nodes[p.tar.entry] : NULL;
		if (!n)
			continue;
		if (archive_entry_filetype(e) != AE_IFREG ||
		    (uint64_t)archive_entry_size(e) != n->inode->size)
			return tar_changed(&p.tar, err);
		r = tar_contents(&p.tar, n, fn, arg, err);
		if (r < 0)
			return r;
	}
	if (r == 0 && p.tar.entry + 1 < index.n)
		return tar_changed(&p.tar, err);
	return r;
}
