/* SPDX-License-Identifier: Apache-2.0 */
#include "store/revision.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/seal.h"
#include "model/model_json.h"
#include "model/name.h"
#include "store/blob.h"
#include "store/store_priv.h"
#include "store/trust.h"

#define REVISION_MAX ((size_t)1024 * 1024)

static int no_revision(const char *id, const char *revision, struct mvm_error *err)
{
	mvm_error_set(err, -ENOENT, "template '%s' has no revision '%s'", id, revision);
	return mvm_error_reason(err, -ENOENT, "no-revision", id);
}

int store_revision_list(struct store *s, const char *id, struct strv *ret, struct mvm_error *err)
{
	AUTO_DONE(strv) names = { 0 }, revisions = { 0 };

	AUTO_CLOSE int dir = template_open(s, id, false, err);
	if (dir < 0)
		return dir;
	AUTO_CLOSE int artifacts = dir_open_at(dir, "artifacts");
	if (artifacts == -ENOENT)
		return 0;
	int r = artifacts < 0 ? artifacts : dir_list(artifacts, &names);
	if (r < 0)
		return mvm_error_set(err, r, "cannot list the revisions of '%s': %s", id,
				     strerror(-r));
	for (size_t i = 0; i < names.n; i++) {
		if (name_valid(NAME_REVISION, names.v[i]))
			strv_add(&revisions, names.v[i]);
	}
	if (revisions.failed)
		return mvm_error_oom(err);
	*ret = revisions;
	revisions = (struct strv){ 0 };
	return 0;
}

/* Open a folder and take a shared lock on it, so that no sweep removes it after another folder has
 * replaced it.  A folder that was replaced before we had the lock is stale: open again. */
static int open_locked(int dir_fd, const char *name)
{
	for (;;) {
		AUTO_CLOSE int fd = dir_open_at(dir_fd, name);
		if (fd < 0)
			return fd;
		while (flock(fd, LOCK_SH) < 0) {
			if (errno != EINTR)
				return -errno;
		}
		if (file_is_at(fd, dir_fd, name))
			return TAKE_FD(fd);
	}
}

int store_revision_open(struct store *s, const char *id, const char *revision,
			struct mvm_error *err)
{
	int r = name_check(NAME_REVISION, revision, err);
	if (r < 0)
		return r;
	AUTO_CLOSE int dir = template_open(s, id, false, err);
	if (dir < 0)
		return dir;
	AUTO_CLOSE int artifacts = dir_open_at(dir, "artifacts");
	int fd = artifacts < 0 ? artifacts : open_locked(artifacts, revision);
	if (fd == -ENOENT)
		return no_revision(id, revision, err);
	return fd >= 0 ? fd
		       : mvm_error_set(err, fd, "cannot open revision '%s' of '%s': %s", revision,
				       id, strerror(-fd));
}

/* Was the revision removed after it was opened, perhaps with its template? */
static bool is_gone(struct store *s, const char *id, const char *revision, struct mvm_error *err)
{
	AUTO_CLOSE int dir = store_revision_open(s, id, revision, err);
	return dir == -ENOENT;
}

/* name: a path below the data folder, "templates/...". */
static int read_by_path(struct store *s, const char *name, char **ret, size_t *ret_len)
{
	int templates = store_dir(s, STORE_TEMPLATES);
	return templates < 0 ? templates
			     : file_read_below(templates, name + strlen("templates/"), REVISION_MAX,
					       ret, ret_len);
}

int store_revision_load(struct store *s, const char *id, const char *revision,
			struct mvm_template_revision *ret, int *ret_dir_fd, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	char name[MVM_TEMPLATE_ID_SIZE + MVM_REVISION_SIZE + 48];
	size_t len;

	AUTO_CLOSE int dir = ret_dir_fd ? store_revision_open(s, id, revision, err) : -1;
	if (ret_dir_fd && dir < 0)
		return dir;
	int r = name_check(NAME_TEMPLATE, id, err);
	if (r >= 0)
		r = name_check(NAME_REVISION, revision, err);
	if (r < 0)
		return r;
	snprintf(name, sizeof(name), "templates/%s/artifacts/%s/revision.json", id, revision);
	if (ret_dir_fd)
		r = file_read_at(dir, "revision.json", REVISION_MAX, &text, &len);
	else
		r = read_by_path(s, name, &text, &len);
	if (r == -ENOENT && is_gone(s, id, revision, err))
		return -ENOENT;
	if (r == -ENOENT)
		return mvm_error_set(err, -EBADMSG, "%s is missing", name);
	if (r < 0)
		return mvm_error_set(err, r, "cannot read %s: %s", name, strerror(-r));
	r = mvm_template_revision_parse(text, len, name, ret, err);
	if (r < 0)
		return r;
	if (ret_dir_fd)
		*ret_dir_fd = TAKE_FD(dir);
	return 0;
}

int store_revision_save(int dir_fd, const struct mvm_template_revision *rev, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	int r = mvm_template_revision_format(rev, &text, err);
	if (r < 0)
		return r;
	r = file_create_at(dir_fd, "revision.json", text, strlen(text), 0644);
	return r < 0 ? mvm_error_set(err, r, "cannot write revision.json: %s", strerror(-r)) : 0;
}

int store_stage_revision(struct store *s, const char *id, const char *revision, struct staging *ret,
			 struct mvm_error *err)
{
	AUTO_DONE(staging) st = STAGING_NONE;
	AUTO_DONE(strv) names = { 0 };

	AUTO_CLOSE int dir = store_revision_open(s, id, revision, err);
	if (dir < 0)
		return dir;
	int r = store_revision_may_go(dir, id, revision, err); /* refuse before the work */
	if (r < 0)
		return r;
	r = dir_list(dir, &names);
	if (r < 0)
		return mvm_error_set(err, r, "cannot list revision '%s' of '%s': %s", revision, id,
				     strerror(-r));
	r = store_stage(s, &st, err);
	for (size_t i = 0; r >= 0 && i < names.n; i++) {
		const char *name = names.v[i];
		if (strcmp(name, "revision.json") == 0 || strcmp(name, "checksums.json") == 0 ||
		    strcmp(name, STORE_VERIFIED) == 0 || strcmp(name, "snapshot") == 0)
			continue;
		r = store_link_file(s, dir, name, st.fd, name);
		if (r < 0)
			mvm_error_set(err, r, "cannot link '%s' of revision '%s' of '%s': %s", name,
				      revision, id, strerror(-r));
	}
	if (r < 0)
		return r;
	*ret = st;
	st = (struct staging)STAGING_NONE;
	return 0;
}

#define DEPTH_MAX 8

static int sync_below(int fd, unsigned depth)
{
	AUTO_DONE(strv) names = { 0 };
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode)) {
		if (depth == 0)
			return -ELOOP;
		int r = dir_list(fd, &names);
		for (size_t i = 0; r >= 0 && i < names.n; i++) {
			AUTO_CLOSE int below = openat(
				fd, names.v[i], O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
			r = below < 0 ? -errno : sync_below(below, depth - 1);
		}
		if (r < 0)
			return r;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

int tree_sync(int fd)
{
	return sync_below(fd, DEPTH_MAX);
}

/* Returns 1 if the name was free, 0 if two folders were exchanged. */
static int move_folder(const struct staging *st, int to_fd, const char *name)
{
	if (renameat2(st->tmp_fd, st->name, to_fd, name, RENAME_NOREPLACE) == 0)
		return 1;
	if (errno == EEXIST && renameat2(st->tmp_fd, st->name, to_fd, name, RENAME_EXCHANGE) == 0)
		return 0;
	return errno == EINVAL || errno == ENOSYS ? -EOPNOTSUPP : -errno;
}

/* Seal the blobs of a revision, as far as the file system can.  A kernel that several revisions
 * share is sealed once. */
static void seal_blobs(int dir_fd)
{
	static const char *const names[] = { "vmlinux", "initrd", "rootfs.ext4" };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(names); i++)
		seal_file(dir_fd, names[i]); /* a revision may lack one; unsealed files do, too */
}

int store_revision_publish(struct store *s, struct staging *st, const char *id,
			   const char *revision, struct mvm_error *err)
{
	int r = name_check(NAME_REVISION, revision, err);
	if (r < 0)
		return r;
	AUTO_CLOSE int dir = template_open(s, id, true, err);
	if (dir < 0)
		return dir;
	AUTO_CLOSE int artifacts = dir_make_at(dir, "artifacts");
	r = artifacts < 0 ? artifacts : dir_sync(dir);
	AUTO_CLOSE int old = r < 0 ? r : dir_open_at(artifacts, revision);
	if (old >= 0) {
		int may_go = store_revision_may_go(old, id, revision, err);
		if (may_go < 0)
			return may_go;
	}
	if (r >= 0) {
		seal_blobs(st->fd);
		r = tree_sync(st->fd);
	}
	int moved = r < 0 ? r : move_folder(st, artifacts, revision);
	if (moved < 0) {
		mvm_error_set(err, moved, "cannot publish revision '%s' of '%s': %s", revision, id,
			      moved == -EOPNOTSUPP ? "the file system cannot exchange folders"
						   : strerror(-moved));
		return store_mend(s, moved, err);
	}
	flock(st->fd, LOCK_UN); /* readers of the published folder wait for this lock */
	r = dir_sync(artifacts);
	if (r >= 0)
		r = dir_sync(st->tmp_fd);
	if (r >= 0)
		return moved;
	mvm_error_set(err, r, "revision '%s' of '%s' may be lost in a crash: %s", revision, id,
		      strerror(-r));
	return store_mend(s, r, err);
}
