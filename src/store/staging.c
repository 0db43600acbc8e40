/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "store/store_priv.h"

#define STAGE_PREFIX "stage."
#define STAGE_TRIES  100

/* A plain file has no lock that shows whether it is in use.  But writing and renaming one never
 * takes a day. */
#define FILE_AGE_S (INT64_C(24) * 60 * 60)

/* Make and lock a folder.  In between, a sweeper may take it for an orphan and lock or remove it.
 * Then this returns -EAGAIN, and the caller tries again with another name. */
static int try_stage(int tmp_fd, struct staging *ret)
{
	AUTO_CLOSE int fd = dir_make_unique_at(tmp_fd, STAGE_PREFIX, ret->name);
	if (fd < 0)
		return fd == -ENOENT ? -EAGAIN : fd;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EAGAIN : -errno;
	if (!file_is_at(fd, tmp_fd, ret->name))
		return -EAGAIN;
	ret->fd = TAKE_FD(fd);
	ret->tmp_fd = tmp_fd;
	return 0;
}

int store_stage(struct store *s, struct staging *ret, struct mvm_error *err)
{
	struct staging st = STAGING_NONE;

	if (store_read_only(s))
		return store_not_writable(s, -EROFS, err);
	int tmp_fd = store_dir_get(s, STORE_TMP, err);
	if (tmp_fd < 0)
		return tmp_fd;
	int r = -EAGAIN;
	for (int i = 0; i < STAGE_TRIES && r == -EAGAIN; i++)
		r = try_stage(tmp_fd, &st);
	if (r < 0) {
		mvm_error_set(err, r, "cannot create a staging folder in '%s/tmp': %s",
			      store_path(s), strerror(-r));
		return store_mend(s, r, err);
	}
	*ret = st;
	return 0;
}

int store_stage_away(struct store *s, int dir_fd, const char *name,
		     char ret_name[STAGING_NAME_SIZE])
{
	if (store_read_only(s))
		return -EROFS;
	int tmp_fd = store_dir(s, STORE_TMP);
	return tmp_fd < 0 ? tmp_fd : rename_unique_at(dir_fd, name, tmp_fd, STAGE_PREFIX, ret_name);
}

static bool is_old_file(int dir_fd, const char *name)
{
	struct stat st;
	return name_is_unique(name, "file.") &&
	       fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
	       st.st_uid == geteuid() &&
	       clock_wall_ns() / NS_PER_S - st.st_mtim.tv_sec > FILE_AGE_S;
}

bool sweep_one(int tmp_fd, const char *name)
{
	struct stat st;

	if (!name_is_unique(name, STAGE_PREFIX))
		return is_old_file(tmp_fd, name) && unlinkat(tmp_fd, name, 0) == 0;
	AUTO_CLOSE int fd = dir_open_at(tmp_fd, name);
	if (fd < 0 || fstat(fd, &st) < 0 || st.st_uid != geteuid())
		return false;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0 || !file_is_at(fd, tmp_fd, name))
		return false;
	return tree_remove_at(tmp_fd, name) == 0;
}

void store_remove_staged(struct store *s, const char *name)
{
	sweep_one(store_dir(s, STORE_TMP), name);
}

void staging_done(struct staging *st)
{
	if (st->fd < 0)
		return;
	/* our name may now hold the old revision that ours was exchanged for; while it has
	 * readers it stays, and a later command sweeps it */
	if (file_is_at(st->fd, st->tmp_fd, st->name))
		tree_remove_at(st->tmp_fd, st->name);
	else
		sweep_one(st->tmp_fd, st->name);
	close(st->fd);
	*st = (struct staging)STAGING_NONE;
}

int store_sweep(struct store *s)
{
	AUTO_DONE(strv) names = { 0 };
	int swept = 0;

	int tmp_fd = store_dir(s, STORE_TMP);
	if (tmp_fd < 0)
		return tmp_fd;
	int r = dir_list(tmp_fd, &names);
	if (r < 0)
		return r;
	for (size_t i = 0; i < names.n; i++)
		swept += sweep_one(tmp_fd, names.v[i]);
	return swept;
}

void store_sweep_files(struct store *s)
{
	static const char *const where[] = { "cache", "cache/chunks", "locks", "pool" };

	for (size_t i = 0; i < MVM_ARRAY_SIZE(where); i++) {
		AUTO_DONE(strv) names = { 0 };
		AUTO_CLOSE int fd = dir_open_unmounted_at(store_root(s), where[i]);
		int r = fd < 0 ? fd : dir_list(fd, &names);
		for (size_t k = 0; r == 0 && k < names.n; k++) {
			if (is_old_file(fd, names.v[k]))
				unlinkat(fd, names.v[k], 0); /* or the next sweep does */
		}
	}
}
