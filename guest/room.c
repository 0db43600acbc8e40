/* SPDX-License-Identifier: Apache-2.0 */
#include "room.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"

/* Older kernel headers do not export this magic number (fs/overlayfs). */
#ifndef OVERLAYFS_SUPER_MAGIC
#define OVERLAYFS_SUPER_MAGIC 0x794c7630
#endif

#define LOOK_EVERY (4u << 20) /* bytes between two looks at the free memory */

static int look(const char *path, struct statfs *ret)
{
	AUTO_FREE char *copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	while (statfs(copy, ret) < 0) {
		char *slash = strrchr(copy, '/');
		if ((errno != ENOENT && errno != ENOTDIR) || !slash)
			return -errno;
		if (slash == copy)
			return statfs("/", ret) < 0 ? -errno : 0;
		*slash = '\0';
	}
	return 0;
}

/* "MemTotal:        2048 kB" */
static uint64_t meminfo(const char *text, const char *key)
{
	const char *at = strstr(text, key);
	return at ? strtoull(at + strlen(key), NULL, 10) << 10 : 0;
}

static uint64_t memory_left(void)
{
	AUTO_FREE char *text = NULL;
	AUTO_CLOSE int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || file_read_fd(fd, 65536, &text, NULL) < 0)
		return UINT64_MAX;
	uint64_t left = meminfo(text, "MemAvailable:"), reserve = meminfo(text, "MemTotal:") / 16;
	return left > reserve ? left - reserve : 0;
}

/* The root's overlay reports the free space of the file system that it writes to, but not which
 * kind that is. */
static bool root_is_on_disk(void)
{
	AUTO_FREE char *text = NULL;
	AUTO_CLOSE int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	return fd >= 0 && file_read_fd(fd, 65536, &text, NULL) >= 0 && strstr(text, " mvm.upper=");
}

void room_look(const char *path, struct room *ret)
{
	struct statfs fs;
	*ret = (struct room){ .bytes = UINT64_MAX };
	if (look(path, &fs) < 0)
		return;
	ret->in_memory = fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC ||
			 (fs.f_type == OVERLAYFS_SUPER_MAGIC && !root_is_on_disk());
	if (fs.f_blocks > 0)
		ret->bytes = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
	uint64_t memory = ret->in_memory ? memory_left() : UINT64_MAX;
	if (memory < ret->bytes)
		ret->bytes = memory;
}

ssize_t room_read(struct room_input *in, void *ret, size_t size, struct mvm_error *err)
{
	struct room room;
	ssize_t n;
	do
		n = read(STDIN_FILENO, ret, size);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return mvm_error_set(err, -errno, "cannot read the stream");
	if ((size_t)n <= in->unlooked) {
		in->unlooked -= (size_t)n;
		return n;
	}
	in->unlooked = LOOK_EVERY;
	room_look(in->path, &room);
	return room.in_memory && room.bytes == 0 ? mvm_error_set(err, -ENOSPC, "its memory is full")
						 : n;
}
