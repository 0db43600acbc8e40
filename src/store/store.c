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
#include "store/folder.h"
#include "store/store_priv.h"

struct store {
	char *path;
	int root_fd;
	unsigned flags;
	int dirs[STORE_DIR_COUNT]; /* -1: not opened yet */
	struct staging scratch;
	bool copied; /* a file was copied because it could not be linked */
};

static const struct {
	const char *parent, *name;
} dir_names[STORE_DIR_COUNT] = {
	[STORE_TEMPLATES] = { NULL, "templates" }, [STORE_BLOBS] = { "blobs", "sha256" },
	[STORE_CACHE] = { NULL, "cache" },	   [STORE_BUILDS] = { "cache", "builds" },
	[STORE_IMAGES] = { "cache", "images" },	   [STORE_PULLS] = { "cache", "pulls" },
	[STORE_CHUNKS] = { "cache", "chunks" },	   [STORE_KERNELS] = { NULL, "kernels" },
	[STORE_INSTANCES] = { NULL, "instances" }, [STORE_TMP] = { NULL, "tmp" },
	[STORE_LOCKS] = { NULL, "locks" },	   [STORE_LOGS] = { NULL, "logs" },
	[STORE_POOL] = { NULL, "pool" },	   [STORE_VOLUMES] = { NULL, "volumes" },
	[STORE_KEYS] = { NULL, "keys" },	   [STORE_TRUST] = { NULL, "trust" },
	[STORE_TOKENS] = { NULL, "tokens" },
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

int store_not_writable(const struct store *s, int code, struct mvm_error *err)
{
	if (s->root_fd >= 0 && faccessat(s->root_fd, ".", W_OK, AT_EACCESS) < 0)
		code = -errno;
	return folder_not_writable(s->path, code, err);
}

/* The path of a folder, or of a file in it, for error messages. */
static char *path_of(const struct store *s, enum store_dir which, const char *name)
{
	const char *parent = dir_names[which].parent;
	return str_printf("%s/%s%s%s%s%s", s->path, parent ? parent : "", parent ? "/" : "",
			  dir_names[which].name, name ? "/" : "", name ? name : "");
}

int store_mend(const struct store *s, int code, struct mvm_error *err)
{
	if (code == -ENOSPC || code == -EDQUOT)
		return mvm_error_reason_unless(err, code, "data-folder-full", s->path);
	return code == -EXDEV ? mvm_error_reason(err, code, "data-folder-split", s->path) : code;
}

int store_lock_failed(struct store *s, enum store_dir which, const char *name, int code,
		      struct mvm_error *err)
{
	if (code == -EROFS)
		return store_not_writable(s, code, err);
	if (code == -ECANCELED)
		return mvm_error_cancelled(err, "the wait for another command");
	int locks = store_dir(s, which);
	if (locks < 0)
		return store_dir_failed(s, which, locks, err);
	AUTO_FREE char *folder = path_of(s, which, NULL), *path = path_of(s, which, name);
	if (!folder || !path)
		return mvm_error_oom(err);
	mvm_error_set(err, code, "cannot lock '%s': %s", path, lock_why(code));
	if (code == -EMLINK)
		return mvm_error_reason(err, code, "lock-linked", folder);
	return lock_is_foreign(code) ? mvm_error_reason(err, code, "lock-foreign", path)
				     : store_mend(s, code, err);
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
	if (!s->path && errno == ENOENT) { /* services have no HOME */
		mvm_error_set(err, -ENOENT,
			      "cannot find the data folder: HOME is not set to an absolute path");
		return mvm_error_reason(err, -ENOENT, "data-folder-missing", NULL);
	}
	if (!s->path)
		return mvm_error_oom(err);

	const bool read_only = flags & STORE_READ_ONLY;
	int fd = folder_open(s->path, read_only, err);
	if (fd < 0 && !(fd == -ENOENT && read_only)) /* a missing folder reads as an empty one */
		return fd;
	s->root_fd = fd < 0 ? -1 : fd;
	if (!(flags & STORE_READ_ONLY))
		store_sweep(s); /* the next store_open() tries again to sweep what fails now */
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

static bool is_own(const struct stat *st)
{
	return st->st_uid == geteuid() && !(st->st_mode & (S_IWGRP | S_IWOTH));
}

/* Open a subfolder, or create it.  Only this user may write to it, as to the data folder. */
static int own_dir(const struct store *s, int parent_fd, const char *name)
{
	struct stat st;
	/* a sweep must not reach another file system, and rename(2) cannot leave one */
	const bool is_tmp = parent_fd == s->root_fd && str_eq(name, dir_names[STORE_TMP].name);

	if (!(s->flags & STORE_READ_ONLY) && mkdirat(parent_fd, name, 0700) < 0 && errno != EEXIST)
		return -errno;
	AUTO_CLOSE int fd = is_tmp ? dir_open_unmounted_at(parent_fd, name)
				   : dir_open_at(parent_fd, name);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	return is_own(&st) ? TAKE_FD(fd) : -EPERM;
}

int store_dir(struct store *s, enum store_dir which)
{
	const char *parent_name = dir_names[which].parent;
	AUTO_CLOSE int parent = -1;

	if (s->dirs[which] >= 0)
		return s->dirs[which];
	if (s->root_fd < 0)
		return -ENOENT;
	if (parent_name) {
		parent = own_dir(s, s->root_fd, parent_name);
		if (parent < 0)
			return parent;
	}
	int fd = own_dir(s, parent_name ? parent : s->root_fd, dir_names[which].name);
	if (fd >= 0)
		s->dirs[which] = fd;
	return fd;
}

/* own_dir() has refused the folder or its parent: which of them, and why? */
static int dir_refused(const struct store *s, enum store_dir which, struct mvm_error *err)
{
	const char *parent = dir_names[which].parent;
	AUTO_FREE char *path = parent ? str_printf("%s/%s", s->path, parent) : NULL;
	struct stat st;

	if (!path || stat(path, &st) < 0 || is_own(&st)) {
		free(path);
		path = path_of(s, which, NULL);
	}
	if (!path)
		return mvm_error_oom(err);
	if (stat(path, &st) == 0 && st.st_uid == geteuid()) {
		mvm_error_set(err, -EPERM, "cannot open '%s': others may write to it", path);
		return mvm_error_reason(err, -EPERM, "data-folder-open", path);
	}
	mvm_error_set(err, -EPERM, "cannot open '%s': it belongs to another user", path);
	return mvm_error_reason(err, -EPERM, "data-folder-part", path);
}

int store_dir_failed(const struct store *s, enum store_dir which, int code, struct mvm_error *err)
{
	if (code == -ENOENT && store_read_only(s))
		return store_not_writable(s, -EROFS, err); /* nothing can create it */
	if (code == -EPERM)
		return dir_refused(s, which, err);
	AUTO_FREE char *path = path_of(s, which, NULL);
	if (!path)
		return mvm_error_oom(err);
	struct stat st;
	const char *why = strerror(-code);
	if (code == -EXDEV)
		why = "another file system is mounted there";
	else if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode))
		why = "it is a symbolic link, and mvm follows none in its data folder";
	mvm_error_set(err, code, "cannot open '%s': %s", path, why);
	return store_mend(s, code, err);
}

int store_dir_get(struct store *s, enum store_dir which, struct mvm_error *err)
{
	int fd = store_dir(s, which);
	return fd < 0 ? store_dir_failed(s, which, fd, err) : fd;
}

bool store_dir_is_missing(int code)
{
	return code == -ENOENT || code == -ENOSPC || code == -EDQUOT;
}

int store_dir_names(struct store *s, enum store_dir which, struct strv *ret, struct mvm_error *err)
{
	int fd = store_dir(s, which);
	if (store_dir_is_missing(fd))
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
