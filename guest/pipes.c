/* SPDX-License-Identifier: Apache-2.0 */
#include "pipes.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "base/error.h"

/* A large pipe saves time: a full or empty pipe makes the processes at its ends take turns. */
#define PIPE_BYTES (256 << 10)

/* Make a pipe.  Only our end is non-blocking. */
static int make_pipe(bool we_read, int *ret_ours, int *ret_theirs)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	*ret_ours = fds[we_read ? 0 : 1];
	*ret_theirs = fds[we_read ? 1 : 0];
	fcntl(fds[0], F_SETPIPE_SZ, PIPE_BYTES); /* if this fails, a smaller pipe works, too */
	return fcntl(*ret_ours, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

int stdio_pipes(bool with_stdin, struct stdio *ret)
{
	int r = make_pipe(true, &ret->out[0], &ret->theirs[1]);
	if (r == 0)
		r = make_pipe(true, &ret->out[1], &ret->theirs[2]);
	if (r == 0 && with_stdin)
		r = make_pipe(false, &ret->in, &ret->theirs[0]);
	return r;
}

/* Make a terminal.  Our end gets two descriptors, since epoll takes one entry per descriptor; the
 * process's end gets three. */
int stdio_terminal(uint16_t rows, uint16_t columns, struct stdio *ret)
{
	struct winsize size = { .ws_row = rows, .ws_col = columns };
	int unlock = 0;

	int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	ret->out[0] = master;
	if (master < 0 || ioctl(master, TIOCSPTLCK, &unlock) < 0)
		return -errno;
	if (rows && columns && ioctl(master, TIOCSWINSZ, &size) < 0)
		return -errno;
	ret->in = fcntl(master, F_DUPFD_CLOEXEC, 3);
	if (ret->in < 0)
		return -errno;
	/* open it through the master, since /dev/pts may be another devpts */
	ret->theirs[0] = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (ret->theirs[0] < 0)
		return -errno;
	for (int i = 1; i < 3; i++) {
		ret->theirs[i] = fcntl(ret->theirs[0], F_DUPFD_CLOEXEC, 3);
		if (ret->theirs[i] < 0)
			return -errno;
	}
	return 0;
}

/* A pipe or terminal: an error of close(2) loses no data. */
static void close_side(int *fd)
{
	if (*fd >= 0)
		close(TAKE_FD(*fd));
}

void stdio_close_theirs(struct stdio *io)
{
	for (size_t i = 0; i < MVM_ARRAY_SIZE(io->theirs); i++)
		close_side(&io->theirs[i]);
}

void stdio_close(int *fd, struct loop_source **source)
{
	loop_source_free(TAKE_PTR(*source));
	close_side(fd);
}
