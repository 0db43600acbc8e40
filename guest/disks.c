/* SPDX-License-Identifier: Apache-2.0 */
#include "disks.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <mntent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/file.h"
#include "base/own.h"
#include "base/str.h"
#include "mounts.h"

/* musl's hasmntopt() looks for any substring, and "errors=remount-ro" is one. */
static bool is_read_only(const struct mntent *m)
{
	return strncmp(m->mnt_opts, "ro", 2) == 0 && (m->mnt_opts[2] == ',' || !m->mnt_opts[2]);
}

static void each_writable(void (*fn)(const char *folder))
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	struct mntent *m;
	if (!mounts)
		return;
	while ((m = getmntent(mounts))) {
		if (str_starts(m->mnt_fsname, "/dev/") && !is_read_only(m))
			fn(m->mnt_dir);
	}
	endmntent(mounts); /* cannot fail */
}

static void on_upper(int upper_fd, void (*fn)(const char *folder))
{
	char path[FD_PATH_SIZE];
	if (upper_fd < 0)
		return;
	fd_path(upper_fd, path);
	fn(path);
}

static void trim(const char *folder)
{
	struct fstrim_range all = { .len = UINT64_MAX };
	AUTO_CLOSE int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		ioctl(fd, FITRIM, &all); /* if this fails, the disk's file takes more room */
}

#define VOLUMES	    "volumes" /* paths, each with a NUL */
#define VOLUMES_MAX ((size_t)256 * 1024)

void disks_note_volume(int upper_fd, const char *path, const char *name)
{
	char text[PATH_MAX + NAME_MAX + 2];
	if (upper_fd < 0 || !path || !name) /* an older host says no name */
		return;
	int len = snprintf(text, sizeof(text), "%s/%s", path, name);
	AUTO_CLOSE int fd = openat(upper_fd, VOLUMES,
				   O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd >= 0 && (size_t)len < sizeof(text)) /* else what is left there stays */
		file_write_all(fd, text, (size_t)len + 1);
}

void disks_forget_volumes(int upper_fd)
{
	if (upper_fd >= 0)
		unlinkat(upper_fd, VOLUMES, 0);
}

/* Remove the file or folder at a path below a folder. */
static void remove_below(int folder_fd, char *path)
{
	AUTO_CLOSE int fd = fcntl(folder_fd, F_DUPFD_CLOEXEC, 3);
	char *part = NULL, *next;
	while (fd >= 0 && (next = strsep(&path, "/"))) {
		if (!*next || str_eq(next, "."))
			continue;
		if (part) {
			int below = dir_open_at(fd, part);
			close(fd);
			fd = below;
		}
		part = next;
	}
	if (fd >= 0 && part && !str_eq(part, ".."))
		tree_remove_at(fd, part);
}

void disks_reset_volumes(const char *writable, const char *upper)
{
	AUTO_FREE char *paths = NULL;
	size_t len = 0;
	AUTO_CLOSE int disk_fd = open(writable, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_CLOSE int upper_fd = open(upper, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (disk_fd < 0 || upper_fd < 0 ||
	    file_read_at(disk_fd, VOLUMES, VOLUMES_MAX, &paths, &len) < 0)
		return;
	for (char *at = paths, *next; at < paths + len; at = next) {
		next = at + strlen(at) + 1;
		remove_below(upper_fd, at);
	}
	unlinkat(disk_fd, VOLUMES, 0);
}

void disks_trim(int upper_fd)
{
	each_writable(trim);
	on_upper(upper_fd, trim);
}

void disks_seal(int upper_fd)
{
	each_writable(mounts_make_read_only);
	on_upper(upper_fd, mounts_make_read_only);
}
