/* SPDX-License-Identifier: Apache-2.0 */
#include "base/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/file.h"

static int flock_retry(int fd, int how)
{
	while (flock(fd, how) < 0) {
		if (errno == EWOULDBLOCK)
			return -EBUSY;
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

static void read_holder(int fd, char ret[LOCK_HOLDER_SIZE])
{
	ssize_t n = pread(fd, ret, LOCK_HOLDER_SIZE - 1, 0);
	ret[n > 0 ? n : 0] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
}

int lock_take_at(int dir_fd, const char *name, unsigned flags, const char *what,
		 char ret_holder[LOCK_HOLDER_SIZE])
{
	AUTO_CLOSE int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;

	int how = (flags & LOCK_SHARED ? LOCK_SH : LOCK_EX) | (flags & LOCK_NOWAIT ? LOCK_NB : 0);
	int r = flock_retry(fd, how);
	if (r == -EBUSY && ret_holder)
		read_holder(fd, ret_holder);
	if (r < 0)
		return r;

	if (!(flags & LOCK_SHARED)) {
		char text[LOCK_HOLDER_SIZE];
		int n = snprintf(text, sizeof(text), "%d %s\n", (int)getpid(), what ? what : "");
		/* only for people: a full disk must not stop who holds the lock */
		if (ftruncate(fd, 0) == 0)
			(void)!write(fd, text,
				     n < (int)sizeof(text) ? (size_t)n : sizeof(text) - 1);
	}
	return TAKE_FD(fd);
}

bool lock_is_held_at(int dir_fd, const char *name)
{
	AUTO_CLOSE int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd >= 0 && flock_retry(fd, LOCK_SH | LOCK_NB) == -EBUSY;
}
