/* SPDX-License-Identifier: Apache-2.0 */
#include "store/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/own.h"
#include "store/folder_place.h"
#include "store/marker.h"

#define OPEN_PLACE (O_PATH | O_DIRECTORY | O_CLOEXEC)

int folder_not_writable(const char *path, int code, struct mvm_error *err)
{
	mvm_error_set(err, code, "data folder '%s' is not writable: %s", path, strerror(-code));
	return mvm_error_reason(err, code, "data-folder-refused", path);
}

static int check_owner(int fd, const char *path, bool read_only, struct mvm_error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return mvm_error_set(err, -errno, "data folder '%s': %s", path, strerror(errno));
	if (st.st_uid != geteuid()) {
		mvm_error_set(err, -EPERM, "data folder '%s' belongs to another user (uid %u)",
			      path, (unsigned)st.st_uid);
		return mvm_error_reason(err, -EPERM, "data-folder-refused", path);
	}
	if (st.st_mode & (S_IWGRP | S_IWOTH)) {
		mvm_error_set(err, -EPERM, "data folder '%s' may be written by others", path);
		return mvm_error_reason(err, -EPERM, "data-folder-open", path);
	}
	if (!read_only && faccessat(fd, ".", W_OK | X_OK, AT_EACCESS) < 0)
		return folder_not_writable(path, -errno, err);
	return 0;
}

static int check_marker(int fd, const char *path, bool read_only, struct mvm_error *err)
{
	char foreign[MARKER_FOREIGN_SIZE] = "";

	int r = marker_check(fd, foreign, err);
	if (r == -EPERM) {
		mvm_error_set(err, r, "'%s' is no data folder of mvm: it contains '%s'", path,
			      foreign);
		return mvm_error_reason(err, r, "data-folder-foreign", path);
	}
	if (r < 0) {
		mvm_error_context(err, r, "data folder '%s'", path);
		return r == -EOPNOTSUPP ? mvm_error_subject(err, r, path)
					: mvm_error_reason(err, r, "data-folder-marker", path);
	}
	if (r > 0 || read_only)
		return 0;
	r = marker_write(fd);
	if (r == -EROFS || r == -EACCES)
		return folder_not_writable(path, r, err);
	if (r == 0)
		return 0;
	mvm_error_set(err, r, "data folder '%s': cannot write " MARKER_NAME ": %s", path,
		      r == -EMLINK ? "the file has a second name" : strerror(-r));
	return r == -EMLINK ? mvm_error_reason(err, r, "data-folder-marker", path) : r;
}

/* Another user's marker counts for nothing: it may lie in /tmp. */
static bool has_marker(int fd)
{
	struct stat dir, marker;
	return fstat(fd, &dir) == 0 && dir.st_uid == geteuid() &&
	       fstatat(fd, MARKER_NAME, &marker, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISREG(marker.st_mode) && marker.st_uid == geteuid();
}

/* Refuse a data folder inside another one: mvm removes files by name below its data folder.
 * fd: the first folder that may be the other one; taken over. */
static int check_outer(int fd, const char *path, struct mvm_error *err)
{
	char link[32], outer[PATH_MAX] = "";
	struct stat here, above;
	AUTO_CLOSE int at = fd;

	for (bool more = true; more && at >= 0;) {
		if (has_marker(at)) {
			snprintf(link, sizeof(link), "/proc/self/fd/%d", at);
			(void)!readlink(link, outer, sizeof(outer) - 1);
			mvm_error_set(err, -EPERM, "'%s' lies in another data folder of mvm, '%s'",
				      path, outer);
			return mvm_error_reason(err, -EPERM, "data-folder-nested", outer);
		}
		int next = openat(at, "..", OPEN_PLACE);
		more = next >= 0 && fstat(at, &here) == 0 && fstat(next, &above) == 0 &&
		       (here.st_ino != above.st_ino || here.st_dev != above.st_dev);
		close(at);
		at = next;
	}
	return 0;
}

/* Nothing is made for a data folder that will be refused. */
static int check_before_making(const char *path, struct mvm_error *err)
{
	AUTO_FREE char *at = strdup(path);
	if (!at)
		return mvm_error_oom(err);
	size_t len = strlen(at);
	int fd = open(at, OPEN_PLACE);
	if (fd >= 0) { /* check_outer() begins above it */
		close(fd);
		return 0;
	}
	while (fd < 0 && errno == ENOENT && len > 0) {
		while (len > 0 && at[len - 1] == '/')
			at[--len] = '\0';
		while (len > 0 && at[len - 1] != '/')
			at[--len] = '\0';
		fd = open(len > 0 ? at : ".", OPEN_PLACE);
	}
	return check_outer(fd, path, err);
}

int folder_open(const char *path, bool read_only, struct mvm_error *err)
{
	int r = read_only ? 0 : check_before_making(path, err);
	if (r < 0)
		return r;
	AUTO_CLOSE int fd = place_is_roots() ? place_open_as_root(path, !read_only, err)
					     : place_open(path, !read_only, err);
	if (fd == -EPERM || (fd == -ENOENT && read_only))
		return fd;
	if (fd < 0)
		return mvm_error_reason(err, fd, "data-folder-refused", path);
	const char *what = place_forbidden(fd);
	if (what) {
		mvm_error_set(err, -EPERM, "'%s' cannot be the data folder: it is %s", path, what);
		return mvm_error_reason(err, -EPERM, "data-folder-place", path);
	}
	r = check_outer(openat(fd, "..", OPEN_PLACE), path, err);
	if (r == 0)
		r = check_owner(fd, path, read_only, err);
	if (r == 0)
		r = check_marker(fd, path, read_only, err);
	return r < 0 ? r : TAKE_FD(fd);
}
