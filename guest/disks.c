/* SPDX-License-Identifier: Apache-2.0 */
#include "disks.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <mntent.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>

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
