/* SPDX-License-Identifier: Apache-2.0 */
#include "image/tree_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "codec/sha256.h"

#define READ_SIZE (1u << 20)

/* The state of a pass: the scan or the read. */
struct walk {
	struct tree *tree;
	const char *dir_name;
	int64_t mtime;
	tree_content_fn fn;
	void *arg;
	char *buf; /* READ_SIZE bytes */
	bool hash; /* compute the lock */
	struct sha256 lock;
};

static int cannot_read(const struct walk *w, const struct tree_node *n, int code,
		       struct mvm_error *err)
{
	char path[TREE_PATH_SIZE];
	tree_path(n, path);
	return mvm_error_set(err, code, "cannot read '%s/%s': %s", w->dir_name, path,
			     strerror(-code));
}

static int changed(const struct walk *w, const struct tree_node *n, struct mvm_error *err)
{
	char path[TREE_PATH_SIZE];
	tree_path(n, path);
	return mvm_error_set(err, -EBUSY, "'%s/%s' changed while it was read", w->dir_name, path);
}

static int refuse(const struct walk *w, const struct tree_node *parent, const char *name,
		  mode_t mode, struct mvm_error *err)
{
	char path[TREE_PATH_SIZE];
	const char *what = S_ISFIFO(mode) ? "fifo" : "device";
	if (S_ISSOCK(mode))
		what = "socket";
	tree_path(parent, path);
	return mvm_error_set(
		err, -EINVAL,
		"'%s/%s%s%s' is a %s: an image is made from files, folders and symbolic "
		"links only",
		w->dir_name, path, *path ? "/" : "", name, what);
}

static uint32_t clean_mode(mode_t mode)
{
	uint32_t bits = mode & 07777;
	return S_ISDIR(mode) && (bits & S_ISVTX) ? bits : bits & ~(uint32_t)022;
}

static int read_target(int dir_fd, const char *name, char ret[PATH_MAX])
{
	ssize_t n = readlinkat(dir_fd, name, ret, PATH_MAX);
	if (n < 0)
		return -errno;
	if (n >= PATH_MAX)
		return -ENAMETOOLONG;
	ret[n] = '\0';
	return 0;
}

static int scan_folder(struct walk *w, int dir_fd, struct tree_node *folder, struct mvm_error *err);

static int scan_entry(struct walk *w, int dir_fd, struct tree_node *parent, const char *name,
		      struct mvm_error *err)
{
	char target[PATH_MAX];
	struct tree_node *n;
	struct stat st;
	enum tree_type type;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return mvm_error_set(err, -errno, "cannot read '%s' in '%s': %s", name, w->dir_name,
				     strerror(errno));
	switch (st.st_mode & S_IFMT) {
	case S_IFREG:
		type = TREE_FILE;
		break;
	case S_IFDIR:
		type = TREE_FOLDER;
		break;
	case S_IFLNK:
		type = TREE_SYMLINK;
		break;
	default:
		return refuse(w, parent, name, st.st_mode, err);
	}
	int r = type == TREE_SYMLINK ? read_target(dir_fd, name, target) : 0;
	if (r < 0)
		return mvm_error_set(err, r, "cannot read the link '%s' in '%s': %s", name,
				     w->dir_name, strerror(-r));
	r = tree_add(w->tree, parent, name, type, type == TREE_SYMLINK ? target : NULL, &n, err);
	if (r == 0 && type == TREE_FILE)
		r = tree_set_size(w->tree, n->inode, (uint64_t)st.st_size, err);
	if (r < 0)
		return mvm_error_context(err, r, "'%s'", w->dir_name);
	/* links have no mode of their own; the kernel always shows 0777 */
	n->inode->mode = type == TREE_SYMLINK ? 0777 : clean_mode(st.st_mode);
	n->inode->mtime = w->mtime;
	if (type != TREE_FOLDER)
		return 0;
	AUTO_CLOSE int fd = dir_open_at(dir_fd, name);
	return fd < 0 ? cannot_read(w, n, fd, err) : scan_folder(w, fd, n, err);
}

static int scan_folder(struct walk *w, int dir_fd, struct tree_node *folder, struct mvm_error *err)
{
	AUTO_DONE(strv) names = { 0 };

	int r = dir_list(dir_fd, &names);
	if (r < 0)
		return cannot_read(w, folder, r, err);
	for (size_t i = 0; r == 0 && i < names.n; i++)
		r = scan_entry(w, dir_fd, folder, names.v[i], err);
	return r;
}

int tree_dir_scan(int dir_fd, const char *dir_name, int64_t mtime, struct tree **ret,
		  struct mvm_error *err)
{
	AUTO(tree) t = NULL;

	int r = tree_new(NULL, &t, err);
	if (r < 0)
		return r;
	struct walk w = { .tree = t, .dir_name = dir_name, .mtime = mtime };
	t->root->inode->mtime = mtime;
	r = scan_folder(&w, dir_fd, t->root, err);
	if (r == 0)
		r = tree_seal(t, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(t);
	return 0;
}

/* Read a file in large pieces; digest them and pass them to fn. */
static int read_file(struct walk *w, int fd, struct tree_node *n, struct sha256 *digest,
		     struct mvm_error *err)
{
	uint64_t size = n->inode->size, offset = 0;

	while (offset < size) {
		size_t want = size - offset < READ_SIZE ? (size_t)(size - offset) : READ_SIZE;
		ssize_t got = pread(fd, w->buf, want, (off_t)offset);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return cannot_read(w, n, -errno, err);
		if (got == 0)
			return changed(w, n, err);
		if (w->hash)
			sha256_add(digest, w->buf, (size_t)got);
		int r = w->fn ? w->fn(w->arg, n, offset, w->buf, (size_t)got, err) : 0;
		if (r < 0)
			return r;
		offset += (size_t)got;
	}
	return 0;
}

static int read_entry_file(struct walk *w, int dir_fd, struct tree_node *n, struct mvm_error *err)
{
	AUTO_CLOSE int fd = openat(dir_fd, n->name,
				   O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct mvm_digest digest;
	struct sha256 h;
	struct stat st;

	if (fd < 0 && (errno == ENOENT || errno == ELOOP))
		return changed(w, n, err);
	if (fd < 0 || fstat(fd, &st) < 0)
		return cannot_read(w, n, -errno, err);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != n->inode->size)
		return changed(w, n, err);
	if (w->hash)
		sha256_init(&h);
	int r = read_file(w, fd, n, &h, err);
	if (r < 0 || !w->hash)
		return r;
	sha256_end(&h, &digest);
	sha256_add(&w->lock, &digest, sizeof(digest));
	return 0;
}

static void lock_node(struct walk *w, const struct tree_node *n)
{
	static const char letters[] = {
		[TREE_FILE] = 'f', [TREE_FOLDER] = 'd', [TREE_SYMLINK] = 'l'
	};
	const struct tree_inode *inode = n->inode;
	char path[TREE_PATH_SIZE], facts[8];

	tree_path(n, path);
	int len = snprintf(facts, sizeof(facts), "%c%04o", letters[inode->type],
			   inode->mode & 07777);
	sha256_add(&w->lock, path, strlen(path) + 1);
	sha256_add(&w->lock, facts, (size_t)len);
	if (inode->target)
		sha256_add(&w->lock, inode->target, strlen(inode->target) + 1);
}

static int read_folder(struct walk *w, int dir_fd, struct tree_node *folder, struct mvm_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < folder->n_children; i++) {
		struct tree_node *n = folder->children[i];
		if (w->hash)
			lock_node(w, n);
		if (n->inode->type == TREE_FILE)
			r = read_entry_file(w, dir_fd, n, err);
		if (n->inode->type != TREE_FOLDER)
			continue;
		AUTO_CLOSE int fd = dir_open_at(dir_fd, n->name);
		if (fd < 0)
			return fd == -ENOENT || fd == -ENOTDIR ? changed(w, n, err)
							       : cannot_read(w, n, fd, err);
		r = read_folder(w, fd, n, err);
	}
	return r;
}

int tree_dir_read(int dir_fd, const char *dir_name, struct tree *t, tree_content_fn fn, void *arg,
		  struct mvm_digest *ret_lock, struct mvm_error *err)
{
	AUTO_FREE char *buf = malloc(READ_SIZE);
	if (!buf)
		return mvm_error_oom(err);
	struct walk w = { .tree = t,
			  .dir_name = dir_name,
			  .fn = fn,
			  .arg = arg,
			  .buf = buf,
			  .hash = ret_lock != NULL };

	sha256_init(&w.lock);
	sha256_add(&w.lock, "mvm dir 1\n", 10);
	int r = read_folder(&w, dir_fd, t->root, err);
	if (r == 0 && ret_lock)
		sha256_end(&w.lock, ret_lock);
	return r;
}
