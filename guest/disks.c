/* SPDX-License-Identifier: Apache-2.0 */
#include "disks.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <mntent.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>

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

static void trim(const char *folder)
{
	struct fstrim_range all = { .len = UINT64_MAX };
	AUTO_CLOSE int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		ioctl(fd, FITRIM, &all); /* if this fails, the disk's file takes more room */
}

void disks_trim(void)
{
	each_writable(trim);
}

void disks_seal(void)
{
	each_writable(mounts_make_read_only);
}
