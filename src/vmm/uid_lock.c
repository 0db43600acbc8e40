/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/uid_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/lock.h"
#include "base/own.h"

#define LOCK_FILE "mvm-uids.lock"

/* Returns -ENOENT for anything but a folder that only root can write. */
static int open_folder(const char *path)
{
	struct stat st;
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOTDIR || errno == ELOOP || errno == EACCES ? -ENOENT : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_uid != 0 || (st.st_mode & (S_IWGRP | S_IWOTH)) ||
	    faccessat(fd, ".", W_OK, AT_EACCESS) < 0)
		return -ENOENT;
	return TAKE_FD(fd);
}

int uid_lock_folder(const char *const *paths)
{
	mkdir(paths[0], 0755); /* open_folder() notices a failure */
	int fd = -ENOENT;
	for (size_t i = 0; paths[i] && fd == -ENOENT; i++)
		fd = open_folder(paths[i]);
	return fd;
}

int uid_lock_open(void)
{
	static const char *const paths[] = { "/run", "/var/lib", NULL };
	return uid_lock_folder(paths);
}

/* Does any process run as this user?  If none does, this costs the kernel one look-up. */
static bool somebody_is(uid_t uid)
{
	errno = 0;
	return getpriority(PRIO_USER, uid) != -1 || errno != ESRCH;
}

int uid_lock_take(int folder_fd, uid_t uid)
{
	const struct lock_span one = { .first = uid, .n = 1 };
	AUTO_CLOSE int fd = lock_span_at(folder_fd, LOCK_FILE, &one, LOCK_NOWAIT);
	if (fd < 0)
		return fd;
	if (!lock_is_own_at(folder_fd, LOCK_FILE))
		return -EPERM;
	return somebody_is(uid) ? -EBUSY : TAKE_FD(fd);
}
