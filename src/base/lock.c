/* SPDX-License-Identifier: Apache-2.0 */
#include "base/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/process.h"
#include "base/progress.h"

#define LOOK_MS INT64_C(10000) /* a look takes microseconds, on a host that is not busy */

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

static int open_lock(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd < 0 ? -errno : fd;
}

/* Is it a lock file, not a foreign file with that name?  A lock file has one hard link.  It
 * is empty or names its holder, "<pid> <what>", and a crash may have cut off the end of that.
 * Returns 0, -EPERM or -EMLINK. */
static int check_lock_file(int fd)
{
	char text[LOCK_HOLDER_SIZE];
	struct stat st;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (st.st_mode & (S_IRWXG | S_IRWXO)) ||
	    st.st_uid != geteuid() || st.st_size >= LOCK_HOLDER_SIZE)
		return -EPERM;
	read_holder(fd, text);
	size_t digits = strspn(text, "0123456789");
	if (st.st_size > 0 && (digits == 0 || (text[digits] && text[digits] != ' ')))
		return -EPERM;
	return st.st_nlink > 1 ? -EMLINK : 0;
}

void lock_sign(int fd, const char *what)
{
	char text[LOCK_HOLDER_SIZE];
	int n = snprintf(text, sizeof(text), "%d %s\n", (int)getpid(), what ? what : "");
	/* only for people: a full disk must not stop the holder of the lock */
	if (ftruncate(fd, 0) == 0)
		(void)!pwrite(fd, text, n < (int)sizeof(text) ? (size_t)n : sizeof(text) - 1, 0);
}

/* flock(2) cannot be polled, so a child waits in our place.  The lock is the open file's, so it
 * ends with the last descriptor of it. */
static int flock_in_child(int fd, int how, int wake_fd, int64_t deadline_ns,
			  const struct mvm_progress *progress)
{
	AUTO_DONE(process) child = { 0 };
	int r = process_fork(&child);
	if (r < 0)
		return r;
	if (child.pid == 0) {
		/* other threads' locks among them: what they let go of must not stay held here */
		if (fd > 0)
			close_range(0, (unsigned)fd - 1, 0);
		close_range((unsigned)fd + 1, ~0u, 0);
		r = flock_retry(fd, how);
		_exit(r < 0);
	}
	return progress_wait_either(progress, child.pidfd, wake_fd, deadline_ns);
}

int lock_take_fd(int fd, int64_t deadline_ns, const struct mvm_progress *progress)
{
	int r = flock_retry(fd, LOCK_EX | LOCK_NB);
	if (r == -EBUSY)
		r = flock_in_child(fd, LOCK_EX, -1, deadline_ns, progress);
	return r == 0 || r == -ETIMEDOUT ? flock_retry(fd, LOCK_EX | LOCK_NB) : r;
}

/* The lock is taken, perhaps only by processes that look at it. */
static int take_past_looks(int fd, int dir_fd, const char *name)
{
	if (lock_is_held_at(dir_fd, name))
		return -EBUSY;
	return lock_take_fd(fd, clock_deadline_ns(LOOK_MS), NULL);
}

int lock_take_at(int dir_fd, const char *name, unsigned flags, const char *what,
		 char ret_holder[LOCK_HOLDER_SIZE])
{
	int how = flags & LOCK_SHARED ? LOCK_SH : LOCK_EX;
	if (flags & LOCK_NOWAIT)
		how |= LOCK_NB;

	for (;;) {
		AUTO_CLOSE int fd = open_lock(dir_fd, name);
		int r = fd < 0 ? fd : flock_retry(fd, how);
		if (r == -EBUSY && flags & LOCK_PAST_LOOKS)
			r = take_past_looks(fd, dir_fd, name);
		if (r == -EBUSY && ret_holder)
			read_holder(fd, ret_holder);
		if (r < 0)
			return r;
		if (!file_is_at(fd, dir_fd, name))
			continue; /* the file was removed while we waited */
		if (flags & LOCK_SHARED)
			return TAKE_FD(fd);
		r = check_lock_file(fd);
		if (r < 0)
			return r;
		lock_sign(fd, what);
		return TAKE_FD(fd);
	}
}

const char *lock_why(int code)
{
	switch (code) {
	case -EPERM:
	case -ENXIO: /* open(2) of a socket */
		return "the file with that name is not a lock file of mvm";
	case -EMLINK:
		return "the lock file has another name as well, as in a copy made of hard links";
	case -ELOOP:
		return "it is a symbolic link";
	case -EISDIR:
		return "it is a folder";
	default:
		return strerror(-code);
	}
}

bool lock_is_foreign(int code)
{
	return code == -EPERM || code == -ENXIO || code == -ELOOP || code == -EISDIR;
}

bool lock_is_own_at(int dir_fd, const char *name)
{
	AUTO_CLOSE int fd = openat(dir_fd, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	return fd >= 0 && check_lock_file(fd) == 0;
}

void lock_remove_at(int dir_fd, const char *name)
{
	unlinkat(dir_fd, name, 0); /* a file that stays is only taken again */
}

/* An open file description lock (fcntl(2)): as with flock(2), the descriptor owns it, not the
 * process. */
static struct flock span(const struct lock_span *s, int type)
{
	return (struct flock){
		.l_type = (short)type,
		.l_whence = SEEK_SET,
		.l_start = (off_t)s->first,
		.l_len = (off_t)s->n,
	};
}

static int take_span(int fd, const struct lock_span *s, unsigned flags)
{
	struct flock want = span(s, flags & LOCK_SHARED ? F_RDLCK : F_WRLCK);

	while (fcntl(fd, flags & LOCK_NOWAIT ? F_OFD_SETLK : F_OFD_SETLKW, &want) < 0) {
		if (errno == EAGAIN || errno == EACCES)
			return -EBUSY;
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

int lock_span_add(int fd, const struct lock_span *s, unsigned flags)
{
	return take_span(fd, s, flags | LOCK_NOWAIT);
}

void lock_span_drop(int fd, const struct lock_span *s)
{
	struct flock none = span(s, F_UNLCK);
	fcntl(fd, F_OFD_SETLK, &none); /* it ends with the descriptor at the latest */
}

int lock_span_at(int dir_fd, const char *name, const struct lock_span *s, unsigned flags)
{
	for (;;) {
		AUTO_CLOSE int fd = open_lock(dir_fd, name);
		if (fd < 0)
			return fd;
		int r = take_span(fd, s, flags);
		if (r < 0)
			return r;
		if (file_is_at(fd, dir_fd, name))
			return TAKE_FD(fd);
	}
}

bool lock_span_is_held_at(int dir_fd, const char *name, const struct lock_span *s)
{
	struct flock other = span(s, F_WRLCK);
	AUTO_CLOSE int fd = openat(dir_fd, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	return fd >= 0 && fcntl(fd, F_OFD_GETLK, &other) == 0 && other.l_type != F_UNLCK;
}

bool lock_is_held_at(int dir_fd, const char *name)
{
	AUTO_CLOSE int fd = openat(dir_fd, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	return fd >= 0 && flock_retry(fd, LOCK_SH | LOCK_NB) == -EBUSY;
}

void lock_read_holder_at(int dir_fd, const char *name, char ret[LOCK_HOLDER_SIZE])
{
	AUTO_CLOSE int fd = openat(dir_fd, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	ret[0] = '\0';
	if (fd >= 0)
		read_holder(fd, ret);
}

int lock_await_at(int dir_fd, const char *name, int wake_fd, int64_t deadline_ns,
		  const struct mvm_progress *progress)
{
	AUTO_CLOSE int fd = openat(dir_fd, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	int r = flock_retry(fd, LOCK_SH | LOCK_NB);
	return r == -EBUSY ? flock_in_child(fd, LOCK_SH, wake_fd, deadline_ns, progress) : r;
}
