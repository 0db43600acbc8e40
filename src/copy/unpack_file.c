/* SPDX-License-Identifier: Apache-2.0 */
/* Files and links, which come into their folder whole. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "copy/unpack_state.h"

static void make_temporary(struct unpack *u)
{
	uint8_t random[8];
	char hex[2 * sizeof(random) + 1];
	random_bytes(random, sizeof(random));
	str_hex(random, sizeof(random), hex);
	snprintf(u->temporary, sizeof(u->temporary), ".mvm-%s", hex);
}

static void drop_temporary(struct unpack *u)
{
	if (u->temporary[0])
		unlinkat(unpack_folder_fd(u), u->temporary,
			 0); /* another failure is being reported */
	u->temporary[0] = '\0';
}

void unpack_drop_file(struct unpack *u)
{
	if (u->file_fd >= 0)
		close(TAKE_FD(u->file_fd)); /* never to be read */
	drop_temporary(u);
	free(TAKE_PTR(u->file_name));
}

/* Make a file without a name, so that a killed copy leaves nothing behind.  On a file system
 * without O_TMPFILE the file has a temporary name until it is whole.  Replacing an existing file
 * needs a rename, so for that moment it has a temporary name in any case. */
int unpack_open_file(struct unpack *u, const struct tar_entry *e, struct mvm_error *err)
{
	u->file_fd = openat(unpack_folder_fd(u), ".", O_WRONLY | O_TMPFILE | O_CLOEXEC, 0600);
	if (u->file_fd < 0 && errno == EOPNOTSUPP) {
		make_temporary(u);
		u->file_fd = openat(unpack_folder_fd(u), u->temporary,
				    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (u->file_fd < 0)
			u->temporary[0] = '\0';
	}
	if (u->file_fd < 0 || ftruncate(u->file_fd, (off_t)e->size) < 0)
		return unpack_cannot(-errno, "make", e->path, err);
	u->file_left = tar_stored_bytes(e);
	return 0;
}

static int rename_temporary(struct unpack *u, const char *name, struct mvm_error *err)
{
	int fd = unpack_folder_fd(u);
	if (renameat(fd, u->temporary, fd, name) < 0) {
		int r = -errno;
		drop_temporary(u);
		return unpack_cannot(r, "make", name, err);
	}
	unlinkat(fd, u->temporary, 0); /* rename(2) keeps it when both were the same file */
	u->temporary[0] = '\0';
	return 0;
}

static int make_link(const struct unpack_link *l, int fd, const char *name)
{
	int follow = l->from_fd == AT_FDCWD ? AT_SYMLINK_FOLLOW : 0;
	int r = l->hard ? linkat(l->from_fd, l->target, fd, name, follow)
			: symlinkat(l->target, fd, name);
	return r < 0 ? -errno : 0;
}

int unpack_place_link(struct unpack *u, const struct unpack_link *l, const char *name,
		      const struct timespec times[2], struct mvm_error *err)
{
	int fd = unpack_folder_fd(u);
	int r = make_link(l, fd, name);
	bool there = r == -EEXIST;
	if (there) {
		make_temporary(u);
		r = make_link(l, fd, u->temporary);
		if (r < 0)
			u->temporary[0] = '\0';
	}
	if (r < 0)
		return unpack_cannot(r, "make", name, err);
	const char *now = there ? u->temporary : name;
	if (times) {
		/* may fail: some file systems have no times of links */
		utimensat(fd, now, times, AT_SYMLINK_NOFOLLOW);
		r = unpack_own(u, fd, now, AT_SYMLINK_NOFOLLOW);
	}
	if (r < 0) {
		drop_temporary(u);
		return unpack_cannot(r, "set the owner of", name, err);
	}
	return there ? rename_temporary(u, name, err) : 0;
}

static int name_file(struct unpack *u, struct mvm_error *err)
{
	char path[FD_PATH_SIZE];
	const struct unpack_link l = { .from_fd = AT_FDCWD, .target = path, .hard = true };
	if (u->temporary[0])
		return rename_temporary(u, u->file_name, err);
	fd_path(u->file_fd, path);
	return unpack_place_link(u, &l, u->file_name, NULL, err);
}

int unpack_finish_file(struct unpack *u, struct mvm_error *err)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, u->file_mtime };
	int r = 0;
	if (unpack_own_fd(u, u->file_fd) < 0 || fchmod(u->file_fd, u->file_mode) < 0 ||
	    futimens(u->file_fd, times) < 0)
		r = unpack_cannot(-errno, "set owner, mode and time of", u->file_name, err);
	if (r == 0)
		r = name_file(u, err);
	if (close(TAKE_FD(u->file_fd)) < 0 && r == 0)
		r = unpack_cannot(-errno, "write", u->file_name, err);
	free(TAKE_PTR(u->file_name));
	return r;
}
