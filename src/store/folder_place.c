/* SPDX-License-Identifier: Apache-2.0 */
#include "store/folder_place.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/stat.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/own.h"
#include "base/str.h"

#define OPEN_FOLDER (O_RDONLY | O_DIRECTORY | O_CLOEXEC)

/* Limit on the files in /proc that are read here. */
#define PROC_MAX     ((size_t)16 << 20)
#define PASSWD_MAX   ((size_t)16 << 20)
#define OVERFLOW_UID 65534u /* proc(5): stands for users without a number in a user namespace */

bool place_is_roots(void)
{
	return geteuid() == 0;
}

int place_open(const char *path, bool create, struct mvm_error *err)
{
	int fd = open(path, OPEN_FOLDER);

	if (fd < 0 && errno == ENOENT && create) {
		int r = dir_make_path(path);
		if (r < 0)
			return mvm_error_set(err, r, "cannot create data folder '%s': %s", path,
					     strerror(-r));
		fd = open(path, OPEN_FOLDER);
	}
	if (fd < 0)
		return mvm_error_set(err, -errno, "cannot open data folder '%s': %s", path,
				     strerror(errno));
	return fd;
}

/* ---- root's way ---- */

/* Does this user namespace have numbers for all of the host's users? */
static bool has_all_users(void)
{
	AUTO_FREE char *map = NULL;
	unsigned inside, outside, n;
	AUTO_CLOSE int fd = open("/proc/self/uid_map", O_RDONLY | O_CLOEXEC);
	return fd < 0 || file_read_fd(fd, PROC_MAX, &map, NULL) < 0 ||
	       /* NOLINTNEXTLINE(cert-err34-c): the kernel prints what fits its own types */
	       (sscanf(map, "%u %u %u", &inside, &outside, &n) == 3 && n == UINT_MAX);
}

static bool is_roots(const struct stat *st)
{
	return st->st_uid == 0 || (st->st_uid == OVERFLOW_UID && !has_all_users());
}

/* Why root must not use a folder, or a folder on the way to it; NULL when it is safe. */
static const char *danger(const struct stat *st, bool is_last)
{
	if (S_ISLNK(st->st_mode))
		return "is a symbolic link";
	if (!is_roots(st))
		return "belongs to another user";
	/* only root removes root's files from a sticky folder; check_owner() judges the last one */
	if (!is_last && (st->st_mode & (S_IWGRP | S_IWOTH)) && !(st->st_mode & S_ISVTX))
		return "may be changed by others";
	return NULL;
}

/* Open one folder of the path.  len: length of the path up to and with this folder. */
static int step(int at_fd, const char *name, const char *path, size_t len, bool create,
		struct mvm_error *err)
{
	const int how = O_PATH | O_NOFOLLOW | O_CLOEXEC;
	const bool is_last = path[len + strspn(path + len, "/")] == '\0';
	struct stat st;

	AUTO_CLOSE int fd = openat(at_fd, name, how);
	if (fd < 0 && errno == ENOENT && create) {
		if (mkdirat(at_fd, name, 0700) < 0 && errno != EEXIST)
			return mvm_error_set(err, -errno, "cannot create data folder '%s': %s",
					     path, strerror(errno));
		fd = openat(at_fd, name, how);
	}
	if (fd < 0 || fstat(fd, &st) < 0)
		return mvm_error_set(err, -errno, "cannot open data folder '%s': %s", path,
				     strerror(errno));
	const char *why = danger(&st, is_last);
	if (why) {
		mvm_error_set(err, -EPERM, "data folder '%s' is not safe for root: '%.*s' %s", path,
			      (int)len, path, why);
		return mvm_error_reason(err, -EPERM, "data-folder-path", path);
	}
	if (!S_ISDIR(st.st_mode))
		return mvm_error_set(err, -ENOTDIR, "cannot open data folder '%s': %s", path,
				     strerror(ENOTDIR));
	return TAKE_FD(fd);
}

/* path: absolute. */
static int walk(const char *path, bool create, struct mvm_error *err)
{
	AUTO_CLOSE int at = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	const char *p = path;

	while (at >= 0) {
		char name[NAME_MAX + 1];
		p += strspn(p, "/");
		size_t len = strcspn(p, "/");
		if (len == 0)
			break;
		if (len > NAME_MAX)
			return mvm_error_set(err, -ENAMETOOLONG, "data folder '%s': %s", path,
					     strerror(ENAMETOOLONG));
		snprintf(name, sizeof(name), "%.*s", (int)len, p);
		p += len;
		int next = step(at, name, path, (size_t)(p - path), create, err);
		if (next < 0)
			return next;
		close(at);
		at = next;
	}
	int fd = at < 0 ? at : openat(at, ".", OPEN_FOLDER);
	return fd < 0 ? mvm_error_set(err, -errno, "cannot open data folder '%s': %s", path,
				      strerror(errno))
		      : fd;
}

int place_open_as_root(const char *path, bool create, struct mvm_error *err)
{
	AUTO_FREE char *cwd = path[0] == '/' ? NULL : getcwd(NULL, 0);
	AUTO_FREE char *whole = cwd ? str_printf("%s/%s", cwd, path) : strdup(path);

	if (!whole)
		return mvm_error_oom(err);
	if (whole[0] != '/') /* getcwd(3): the folder was removed, or is outside the root folder */
		return mvm_error_set(err, -ENOENT,
				     "data folder '%s': the current folder has no path", path);
	return walk(whole, create, err);
}

/* ---- places that cannot be a data folder ---- */

static bool is_same(const struct stat *a, const char *path)
{
	struct stat b;
	return path && stat(path, &b) == 0 && a->st_dev == b.st_dev && a->st_ino == b.st_ino;
}

/* Read /etc/passwd, since getpwuid(3) may ask the network.  It is read at once, since every command
 * comes here: fgetpwent(3) of the file itself makes two system calls for each user. */
static bool is_home(const struct stat *st)
{
	AUTO_FREE char *text = NULL;
	const struct passwd *user;
	const uid_t uid = getuid(), euid = geteuid();
	bool found = is_same(st, getenv("HOME"));
	if (found || file_read_at(AT_FDCWD, "/etc/passwd", PASSWD_MAX, &text, NULL) < 0)
		return found;
	FILE *file = fmemopen(text, strlen(text), "r");
	while (file && !found && (user = fgetpwent(file)))
		found = (user->pw_uid == uid || user->pw_uid == euid) && is_same(st, user->pw_dir);
	if (file)
		fclose(file);
	return found;
}

/* Does the mount with this id show a whole file system?  A bind mount shows a part of one, which
 * the fourth field of its line names (proc_pid_mountinfo(5)). */
static bool is_whole_mount(uint64_t id)
{
	AUTO_FREE char *text = NULL;
	AUTO_CLOSE int fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || file_read_fd(fd, PROC_MAX, &text, NULL) < 0)
		return true; /* unknown: assume so, which refuses the place */
	for (const char *line = text; line; line = strchr(line, '\n')) {
		uint64_t found;
		char part[3];
		line += *line == '\n';
		/* NOLINTNEXTLINE(cert-err34-c): the kernel prints what fits its own types */
		if (sscanf(line, "%" SCNu64 " %*u %*s %2s", &found, part) == 2 && found == id)
			return str_eq(part, "/");
	}
	return true;
}

static bool is_file_system(int fd)
{
	struct statx stx;
	const unsigned mask = STATX_BASIC_STATS | STATX_MNT_ID;

	/* Linux before 5.8 lacks the flag: then only the marker protects a file system's root */
	return statx(fd, "", AT_EMPTY_PATH, mask, &stx) == 0 &&
	       (stx.stx_attributes & STATX_ATTR_MOUNT_ROOT) && is_whole_mount(stx.stx_mnt_id);
}

const char *place_forbidden(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return "a folder that fstat() cannot read";
	if (is_same(&st, "/"))
		return "the root folder";
	if (is_home(&st))
		return "a home folder";
	return is_file_system(fd) ? "the root of a file system" : NULL;
}
