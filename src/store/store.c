/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <mvm/paths.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"
#include "store/blob.h"
#include "store/store_priv.h"

struct store {
	char *path;
	int root_fd;
	unsigned flags;
	int dirs[STORE_DIR_COUNT]; /* -1: not opened yet */
	struct staging scratch;
	bool copied; /* a file that could not be linked */
};

static const struct {
	const char *parent, *name;
} dir_names[STORE_DIR_COUNT] = {
	[STORE_TEMPLATES] = { NULL, "templates" },
	[STORE_BLOBS] = { "blobs", "sha256" },
	[STORE_CACHE] = { NULL, "cache" },
	[STORE_BUILDS] = { "cache", "builds" },
	[STORE_KERNELS] = { NULL, "kernels" },
	[STORE_INSTANCES] = { NULL, "instances" },
	[STORE_TMP] = { NULL, "tmp" },
	[STORE_LOCKS] = { NULL, "locks" },
	[STORE_LOGS] = { NULL, "logs" },
	[STORE_POOL] = { NULL, "pool" },
};

void store_free(struct store *s)
{
	if (!s)
		return;
	staging_done(&s->scratch);
	for (size_t i = 0; i < STORE_DIR_COUNT; i++)
		auto_close(&s->dirs[i]);
	auto_close(&s->root_fd);
	free(s->path);
	free(s);
}

static const char use_another[] = "name a folder of your own with --data-dir or MVM_DATA_DIR";

int store_not_writable(const struct store *s, int code, struct mvm_error *err)
{
	(void)mvm_error_set(err, code, "data folder '%s' is not writable: %s", s->path,
			    strerror(-code));
	return mvm_error_hint(err, code, use_another);
}

/* The data folder must be ours alone, for what lies in it is run. */
static int check_root(const struct store *s, struct mvm_error *err)
{
	struct stat st;

	if (fstat(s->root_fd, &st) < 0)
		return mvm_error_set(err, -errno, "data folder '%s': %s", s->path, strerror(errno));
	if (st.st_uid != geteuid()) {
		(void)mvm_error_set(err, -EPERM,
				    "data folder '%s' belongs to another user (uid %u)", s->path,
				    (unsigned)st.st_uid);
		return mvm_error_hint(err, -EPERM, use_another);
	}
	if (st.st_mode & (S_IWGRP | S_IWOTH)) {
		(void)mvm_error_set(err, -EPERM, "data folder '%s' may be written by others",
				    s->path);
		return mvm_error_hint(err, -EPERM,
				      "make it private with chmod go-w, or name "
				      "another with --data-dir");
	}
	if (!(s->flags & STORE_READ_ONLY) &&
	    faccessat(s->root_fd, ".", W_OK | X_OK, AT_EACCESS) < 0)
		return store_not_writable(s, -errno, err);
	return 0;
}

static int open_root(struct store *s, struct mvm_error *err)
{
	const int how = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
	int fd = open(s->path, how);

	if (fd < 0 && errno == ENOENT) {
		if (s->flags & STORE_READ_ONLY)
			return 0;
		int r = dir_make_path(s->path);
		if (r < 0) {
			(void)mvm_error_set(err, r, "cannot create data folder '%s': %s", s->path,
					    strerror(-r));
			return mvm_error_hint(err, r, use_another);
		}
		fd = open(s->path, how);
	}
	if (fd < 0) {
		int r = -errno;
		(void)mvm_error_set(err, r, "cannot open data folder '%s': %s", s->path,
				    strerror(-r));
		return mvm_error_hint(err, r, use_another);
	}
	s->root_fd = fd;
	return check_root(s, err);
}

int store_open(const char *data_dir, unsigned flags, struct store **ret, struct mvm_error *err)
{
	AUTO(store) s = calloc(1, sizeof(*s));
	if (!s)
		return mvm_error_oom(err);
	s->flags = flags;
	s->root_fd = -1;
	s->scratch = (struct staging)STAGING_NONE;
	for (size_t i = 0; i < STORE_DIR_COUNT; i++)
		s->dirs[i] = -1;
	s->path = mvm_data_dir(data_dir);
	if (!s->path)
		return mvm_error_oom(err);

	int r = open_root(s, err);
	if (r < 0)
		return r;
	if (!(flags & STORE_READ_ONLY))
		(void)store_sweep(s); /* what cannot be swept now is tried again next time */
	*ret = TAKE_PTR(s);
	return 0;
}

const char *store_path(const struct store *s)
{
	return s->path;
}

int store_root(const struct store *s)
{
	return s->root_fd;
}

bool store_read_only(const struct store *s)
{
	return s->flags & STORE_READ_ONLY;
}

void store_note_copy(struct store *s)
{
	s->copied = true;
}

bool store_blobs_copied(const struct store *s)
{
	return s->copied;
}

int store_dir(struct store *s, enum store_dir which)
{
	int (*get)(int, const char *) = s->flags & STORE_READ_ONLY ? dir_open_at : dir_make_at;
	const char *parent_name = dir_names[which].parent;
	AUTO_CLOSE int parent = -1;

	if (s->dirs[which] >= 0)
		return s->dirs[which];
	if (s->root_fd < 0)
		return -ENOENT;
	if (parent_name) {
		parent = get(s->root_fd, parent_name);
		if (parent < 0)
			return parent;
	}
	int fd = get(parent_name ? parent : s->root_fd, dir_names[which].name);
	if (fd >= 0)
		s->dirs[which] = fd;
	return fd;
}

int store_dir_failed(const struct store *s, enum store_dir which, int code, struct mvm_error *err)
{
	const char *parent = dir_names[which].parent;
	if (code == -ENOENT && store_read_only(s))
		code = -EROFS; /* it would have been created */
	return mvm_error_set(err, code, "cannot open '%s/%s%s%s': %s", s->path,
			     parent ? parent : "", parent ? "/" : "", dir_names[which].name,
			     strerror(-code));
}

int store_dir_get(struct store *s, enum store_dir which, struct mvm_error *err)
{
	int fd = store_dir(s, which);
	return fd < 0 ? store_dir_failed(s, which, fd, err) : fd;
}

int store_dir_names(struct store *s, enum store_dir which, struct strv *ret, struct mvm_error *err)
{
	int fd = store_dir(s, which);
	if (fd == -ENOENT) /* nobody has needed it before the folder became read-only */
		return 0;
	int r = fd < 0 ? fd : dir_list(fd, ret);
	return r < 0 ? store_dir_failed(s, which, r, err) : 0;
}

int store_scratch(struct store *s, struct mvm_error *err)
{
	if (s->scratch.fd < 0) {
		int r = store_stage(s, &s->scratch, err);
		if (r < 0)
			return r;
	}
	return s->scratch.fd;
}
