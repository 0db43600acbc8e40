/* SPDX-License-Identifier: Apache-2.0 */
#include "store/folder.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/own.h"
#include "store/folder_place.h"
#include "store/marker.h"

static const char use_another[] = "name a folder of your own with --data-dir or MVM_DATA_DIR";

static const char mark_anew[] = "if mvm made this folder, mark it anew: rm DIR/" MARKER_NAME
				" && echo '{\"format\": 1}' >DIR/" MARKER_NAME;

int folder_not_writable(const char *path, int code, struct mvm_error *err)
{
	(void)mvm_error_set(err, code, "data folder '%s' is not writable: %s", path,
			    strerror(-code));
	return mvm_error_hint(err, code, use_another);
}

static int check_owner(int fd, const char *path, bool read_only, struct mvm_error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return mvm_error_set(err, -errno, "data folder '%s': %s", path, strerror(errno));
	if (st.st_uid != geteuid()) {
		(void)mvm_error_set(err, -EPERM,
				    "data folder '%s' belongs to another user (uid %u)", path,
				    (unsigned)st.st_uid);
		return mvm_error_hint(err, -EPERM, use_another);
	}
	if (st.st_mode & (S_IWGRP | S_IWOTH)) {
		(void)mvm_error_set(err, -EPERM, "data folder '%s' may be written by others", path);
		return mvm_error_hint(err, -EPERM,
				      "make it private with chmod go-w, or name "
				      "another with --data-dir");
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
		(void)mvm_error_set(err, r, "'%s' is no data folder of mvm's: '%s' lies in it",
				    path, foreign);
		return mvm_error_hint(
			err, r,
			"name another folder, which mvm creates, with --data-dir; or, "
			"if mvm made this one, mark it: "
			"echo '{\"format\": 1}' >DIR/" MARKER_NAME);
	}
	if (r < 0) {
		(void)mvm_error_context(err, r, "data folder '%s'", path);
		return r == -EOPNOTSUPP ? r : mvm_error_hint(err, r, mark_anew);
	}
	if (r > 0 || read_only)
		return 0;
	r = marker_write(fd);
	if (r == -EROFS || r == -EACCES)
		return folder_not_writable(path, r, err);
	if (r == 0)
		return 0;
	(void)mvm_error_set(err, r, "data folder '%s': cannot write " MARKER_NAME ": %s", path,
			    r == -EMLINK ? "it is a file that has another name as well"
					 : strerror(-r));
	return r == -EMLINK ? mvm_error_hint(err, r, mark_anew) : r;
}

int folder_open(const char *path, bool read_only, struct mvm_error *err)
{
	AUTO_CLOSE int fd = place_is_roots() ? place_open_as_root(path, !read_only, err)
					     : place_open(path, !read_only, err);
	if (fd == -EPERM || (fd == -ENOENT && read_only))
		return fd;
	if (fd < 0)
		return mvm_error_hint(err, fd, use_another);
	const char *what = place_forbidden(fd);
	if (what) {
		(void)mvm_error_set(err, -EPERM, "'%s' cannot be the data folder: it is %s", path,
				    what);
		return mvm_error_hint(err, -EPERM,
				      "name a folder below it, as in --data-dir DIR/mvm");
	}
	int r = check_owner(fd, path, read_only, err);
	if (r == 0)
		r = check_marker(fd, path, read_only, err);
	return r < 0 ? r : TAKE_FD(fd);
}
