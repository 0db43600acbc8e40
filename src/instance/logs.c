/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/sock.h"
#include "instance/console.h"
#include "instance/instance.h"

static int copy_new(int log_fd, int out_fd)
{
	char chunk[16384];
	for (;;) {
		ssize_t n = read(log_fd, chunk, sizeof(chunk));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		int r = file_write_all(out_fd, chunk, (size_t)n);
		if (r < 0)
			return r;
	}
}

static int open_log(int dir_fd)
{
	int fd = openat(dir_fd, CONSOLE_LOG_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

/* Wait for more to read.  1: go on, 0: the supervisor has gone or we were cancelled. */
static int wait_for_more(int watch_fd, int control_fd, int cancel_fd)
{
	struct pollfd fds[] = {
		{ .fd = watch_fd, .events = POLLIN },
		{ .fd = control_fd, .events = POLLIN },
		{ .fd = cancel_fd, .events = POLLIN },
	};
	char events[4096];

	if (poll(fds, 3, -1) < 0)
		return errno == EINTR ? 1 : -errno;
	if (fds[0].revents && read(watch_fd, events, sizeof(events)) < 0 && errno != EAGAIN)
		return -errno;
	return !fds[1].revents && !fds[2].revents;
}

/* The log was rotated: what is open here is console.log.1 now. */
static int reopen_if_rotated(int dir_fd, int *log_fd, int out_fd)
{
	struct stat open_st, name_st;
	if (fstat(*log_fd, &open_st) < 0 ||
	    fstatat(dir_fd, CONSOLE_LOG_NAME, &name_st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    open_st.st_ino == name_st.st_ino)
		return 0;
	int fd = open_log(dir_fd);
	if (fd < 0)
		return fd;
	(void)close(*log_fd);
	*log_fd = fd;
	return copy_new(fd, out_fd);
}

static int follow_log(int dir_fd, int *log_fd, int out_fd, int cancel_fd)
{
	AUTO_CLOSE int watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	char path[FD_PATH_SIZE];
	fd_path(dir_fd, path);
	if (watch_fd < 0 || inotify_add_watch(watch_fd, path, IN_MODIFY | IN_CREATE) < 0)
		return -errno;

	/* hangs up when the supervisor ends; when nobody listens, there is nothing to wait for */
	AUTO_CLOSE int control_fd = sock_connect_at(dir_fd, "control.sock");
	int r = control_fd >= 0;
	for (;;) {
		int copied = copy_new(*log_fd, out_fd);
		if (copied == 0)
			copied = reopen_if_rotated(dir_fd, log_fd, out_fd);
		if (copied < 0 || r <= 0)
			return copied < 0 ? copied : r;
		r = wait_for_more(watch_fd, control_fd, cancel_fd);
	}
}

int instance_logs(int instances_fd, const char *name, int out_fd, bool from_end, bool follow,
		  int cancel_fd, struct mvm_error *err)
{
	AUTO_DONE(record) rec = { 0 };
	AUTO_CLOSE int dir_fd = -1;
	int r = instance_load(instances_fd, name, &rec, &dir_fd, err);
	if (r < 0)
		return r;
	AUTO_CLOSE int log_fd = open_log(dir_fd);
	if (log_fd < 0)
		return mvm_error_set(err, log_fd, "instance '%s' has no console log: %s", name,
				     strerror(-log_fd));
	if (from_end && lseek(log_fd, 0, SEEK_END) < 0)
		return mvm_error_set(err, -errno, "console log of '%s': %s", name, strerror(errno));
	r = follow ? follow_log(dir_fd, &log_fd, out_fd, cancel_fd) : copy_new(log_fd, out_fd);
	return r < 0 ? mvm_error_set(err, r, "console log of '%s': %s", name, strerror(-r)) : 0;
}
