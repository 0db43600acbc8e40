/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/saved.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/progress.h"
#include "codec/sha256.h"
#include "instance/instance.h"
#include "model/fields.h"

#define INFO_MAX_BYTES ((size_t)16 * 1024)
#define PIECES	       512u /* of a disk, at a time */

static const struct field disk[] = {
	FIELD_STRING(saved_disk, sha256, FIELD_REQUIRED),
	FIELD_STRING(saved_disk, identity, FIELD_REQUIRED),
};
static const struct fields disk_fields = FIELDS_CLOSED(saved_disk, disk);

static const struct field saved[] = {
	FIELD_SCHEMA_VERSION(saved, schema_version),
	FIELD_STRING(saved, base_nonce_sha256, FIELD_REQUIRED),
	FIELD_STRING(saved, nonce_sha256, FIELD_REQUIRED),
	FIELD_STRING(saved, machine_id, FIELD_REQUIRED),
	FIELD_STRING(saved, state_sha256, FIELD_REQUIRED),
	FIELD_SIZE(saved, state_bytes, FIELD_REQUIRED),
	FIELD_STRING(saved, pages_sha256, FIELD_REQUIRED),
	FIELD_SIZE(saved, pages_bytes, FIELD_REQUIRED),
	FIELD_SIZE(saved, n_pages, FIELD_REQUIRED),
	{ FIELD_KEY("data_disk", saved, disks[OWN_DISK_DATA], FIELD_IS_OBJECT, struct saved_disk,
		    FIELD_SPARSE),
	  .object = &disk_fields, .has = FIELD_OFFSET(saved, disks[OWN_DISK_DATA].present, bool) },
	{ FIELD_KEY("root_disk", saved, disks[OWN_DISK_ROOT], FIELD_IS_OBJECT, struct saved_disk,
		    FIELD_SPARSE),
	  .object = &disk_fields, .has = FIELD_OFFSET(saved, disks[OWN_DISK_ROOT].present, bool) },
	FIELD_STRING(saved, saved_at, FIELD_REQUIRED),
};
static const struct fields saved_fields = FIELDS_CLOSED(saved, saved);

void saved_done(struct saved *s)
{
	fields_done(&saved_fields, s);
}

int saved_write(int dir_fd, const struct saved *s, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	int r = fields_format(&saved_fields, s, &text, err);
	if (r < 0)
		return r;
	r = file_create_at(dir_fd, SAVED_INFO, text, strlen(text), 0600);
	return r < 0 ? mvm_error_set(err, r, "cannot write " SAVED_INFO ": %s", strerror(-r)) : 0;
}

int saved_parse(const char *text, size_t len, struct saved *ret, struct mvm_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	AUTO_DONE(saved) s = { 0 };
	struct json_at root;

	int r = json_read(text, len, SAVED_INFO, &doc, err);
	if (r < 0)
		return r;
	json_root(&root, SAVED_INFO, doc);
	r = fields_read(&saved_fields, &root, &s, err);
	if (r < 0)
		return r;
	*ret = s;
	s = (struct saved){ 0 };
	return 0;
}

int saved_read(int dir_fd, struct saved *ret, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	size_t len;
	int r = file_read_at(dir_fd, SAVED_INFO, INFO_MAX_BYTES, &text, &len);
	if (r == -ENOENT || r == -EFBIG || r == -ELOOP)
		r = mvm_error_set(err, -EBADMSG, SAVED_INFO " is missing, a link or too large");
	else if (r < 0)
		return mvm_error_set(err, r, "cannot read " SAVED_INFO ": %s", strerror(-r));
	return r < 0 ? r : saved_parse(text, len, ret, err);
}

static int damaged(const char *name, struct mvm_error *err)
{
	return mvm_error_set(err, -EBADMSG, "the saved state is damaged: %s is not what was saved",
			     name);
}

static int check_file(int dir_fd, const char *name, uint64_t bytes, const char *sha256,
		      struct mvm_error *err)
{
	struct mvm_digest expected, actual;
	struct stat st;
	AUTO_CLOSE int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != bytes ||
	    digest_parse(sha256, &expected) < 0)
		return damaged(name, err);
	int r = sha256_fd(fd, NULL, &actual, NULL);
	if (r < 0)
		return mvm_error_set(err, r, "cannot read %s: %s", name, strerror(-r));
	return digest_equal(&expected, &actual) ? 0 : damaged(name, err);
}

int saved_check(int dir_fd, const struct saved *s, const char *base_nonce_sha256,
		struct mvm_error *err)
{
	if (!str_eq(s->base_nonce_sha256, base_nonce_sha256))
		return mvm_error_set(err, -ESTALE,
				     "the template's snapshot is another than the one that the VM "
				     "was restored from");
	int r = check_file(dir_fd, SAVED_STATE, s->state_bytes, s->state_sha256, err);
	return r < 0 ? r : check_file(dir_fd, SAVED_PAGES, s->pages_bytes, s->pages_sha256, err);
}

static int open_disk(int instance_fd, int i)
{
	int fd = openat(instance_fd, own_disks[i].file,
			O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

static int begin_disk(int instance_fd, struct saved_noting *n)
{
	AUTO_CLOSE int fd = open_disk(instance_fd, (int)n->disk);
	if (fd < 0 || fsync(fd) < 0)
		return fd < 0 ? fd : -errno;
	sha256_sparse_begin(&n->digest);
	n->fd = TAKE_FD(fd);
	return 0;
}

/* 1: there is more */
static int note_disk(struct saved_noting *n, struct saved_disk *d)
{
	struct mvm_digest digest;
	char hex[DIGEST_HEX_SIZE];
	struct stat st;
	int r = sha256_sparse_some(&n->digest, n->fd, PIECES, &digest);
	if (r == 0 && fstat(n->fd, &st) < 0)
		r = -errno;
	if (r != 0)
		return r;
	digest_hex(&digest, hex);
	d->present = true;
	d->sha256 = strdup(hex);
	d->identity = file_identity(&st);
	return d->sha256 && d->identity ? 0 : -ENOMEM;
}

void saved_noting_done(struct saved_noting *n)
{
	auto_close(&n->fd);
	*n = (struct saved_noting)SAVED_NOTING_NONE;
}

int saved_note_disks(int instance_fd, struct saved_noting *n, struct saved *s,
		     struct mvm_error *err)
{
	for (; n->disk < OWN_DISKS; n->disk++) {
		int r = n->fd < 0 ? begin_disk(instance_fd, n) : 0;
		if (r == -ENOENT)
			continue;
		if (r == 0)
			r = note_disk(n, &s->disks[n->disk]);
		if (r < 0)
			return mvm_error_set(err, r, "cannot digest the %s: %s",
					     own_disks[n->disk].what, strerror(-r));
		if (r > 0)
			return 1;
		auto_close(&n->fd);
		n->fd = -1;
	}
	return 0;
}

/* Has a resume begun, and the host gone down since? */
static bool host_went_down(int instance_fd)
{
	char now[HOST_BOOT_ID_SIZE], begun[HOST_BOOT_ID_SIZE];
	ssize_t n = readlinkat(instance_fd, SAVED_DIR "/" SAVED_BEGUN, begun, sizeof(begun) - 1);
	host_boot_id(now);
	begun[n < 0 ? 0 : n] = '\0';
	return n >= 0 && !str_eq(begun, now);
}

/* 1: it is the one that was noted; 0: it is another. */
static int check_disk(int fd, const struct saved_disk *d, bool always, const char *what,
		      const struct mvm_progress *progress)
{
	AUTO_DONE(progress_step) step = { 0 };
	struct mvm_digest expected, actual;
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || digest_parse(d->sha256, &expected) < 0)
		return 0;
	AUTO_FREE char *identity = file_identity(&st);
	if (!always && str_eq(identity, d->identity))
		return 1;
	progress_begin(&step, progress, "checking the %s for damage", what);
	int r = sha256_sparse_fd(fd, &step, &actual);
	if (r < 0)
		return r;
	progress_end(&step, NULL);
	return digest_equal(&expected, &actual);
}

int saved_check_disks(int instance_fd, const struct saved *s, const bool has[OWN_DISKS],
		      const struct mvm_progress *progress, struct mvm_error *err)
{
	bool always = host_went_down(instance_fd);
	for (int i = 0; i < OWN_DISKS; i++) {
		const char *file = own_disks[i].file;
		AUTO_CLOSE int fd = open_disk(instance_fd, i);
		if (!has[i] && !s->disks[i].present)
			continue;
		int r = fd;
		if (has[i] != s->disks[i].present || fd == -ENOENT || fd == -ELOOP)
			r = 0;
		else if (fd >= 0)
			r = check_disk(fd, &s->disks[i], always, own_disks[i].what, progress);
		if (r == 0)
			return damaged(file, err);
		if (r == -ECANCELED)
			return mvm_error_set(err, r, "the check of its disks was cancelled");
		if (r < 0)
			return mvm_error_set(err, r, "cannot read %s: %s", file, strerror(-r));
	}
	return 0;
}

#define NAMES (4 + (size_t)OWN_DISKS)

/* The files of a kept state, the copies of a fork's disks last. */
static const char *name_at(size_t i)
{
	static const char *const names[] = { SAVED_INFO, SAVED_STATE, SAVED_PAGES, SAVED_DEVICES };
	return i < MVM_ARRAY_SIZE(names) ? names[i] : own_disks[i - MVM_ARRAY_SIZE(names)].file;
}

int saved_sync(int dir_fd)
{
	for (size_t i = 0; i < NAMES; i++) {
		AUTO_CLOSE int fd = openat(dir_fd, name_at(i), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		if (fd >= 0 && fsync(fd) < 0)
			return -errno;
	}
	return dir_sync(dir_fd);
}

int saved_begin(int dir_fd, const struct saved *s)
{
	char boot_id[HOST_BOOT_ID_SIZE];
	bool has_disks = false;
	for (int i = 0; i < OWN_DISKS; i++)
		has_disks |= s->disks[i].present;
	if (!has_disks)
		return 0;
	host_boot_id(boot_id);
	/* a link needs no block, which a full disk has not */
	if (symlinkat(boot_id[0] ? boot_id : "?", dir_fd, SAVED_BEGUN) < 0 && errno != EEXIST)
		return -errno;
	return dir_sync(dir_fd);
}

bool saved_is_there(int instance_fd)
{
	AUTO_CLOSE int fd = dir_open_at(instance_fd, SAVED_DIR);
	return fd >= 0;
}

/* By one rename, so that no half of it passes for a whole one. */
static void remove_state(int instance_fd)
{
	char aside[64];
	if (rename_unique_at(instance_fd, SAVED_DIR, instance_fd, SAVED_SAVING, aside) == 0)
		tree_remove_at(instance_fd, aside);
}

void saved_forget(int instance_fd)
{
	remove_state(instance_fd);
	saved_sweep(instance_fd);
}

void saved_sweep(int instance_fd)
{
	AUTO_DONE(strv) all = { 0 };
	if (dir_list(instance_fd, &all) < 0)
		return;
	for (size_t i = 0; i < all.n; i++) {
		if (name_is_unique(all.v[i], SAVED_SAVING) || name_is_unique(all.v[i], SAVED_FORK))
			tree_remove_at(instance_fd, all.v[i]);
	}
}

bool saved_is_own(int instance_fd, const char *name)
{
	AUTO_DONE(strv) all = { 0 };
	if (!str_eq(name, SAVED_DIR) && !name_is_unique(name, SAVED_SAVING) &&
	    !name_is_unique(name, SAVED_FORK))
		return false;
	AUTO_CLOSE int fd = dir_open_at(instance_fd, name);
	if (fd < 0 || dir_list(fd, &all) < 0)
		return false;
	for (size_t i = 0; i < all.n; i++) {
		struct stat st;
		bool known = str_eq(all.v[i], SAVED_BEGUN);
		mode_t kind = known ? S_IFLNK : S_IFREG;
		for (size_t k = 0; k < NAMES; k++)
			known |= str_eq(all.v[i], name_at(k));
		if (!known || fstatat(fd, all.v[i], &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    (st.st_mode & S_IFMT) != kind)
			return false;
	}
	return true;
}
