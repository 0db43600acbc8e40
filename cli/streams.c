/* SPDX-License-Identifier: Apache-2.0 */
#include "streams.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LAST_WORDS_MS 1000

/* One of the two streams. */
struct stream {
	int fd;
	size_t max; /* bytes that one write takes without blocking, when poll(2) says so */
};

/* As there is one standard output, there is one of this. */
static struct {
	struct stream out, err;
	int signal_fd; /* only polled: whoever blocks the signals reads them */
	bool heeds, hurries;
	int64_t until_ms; /* once it hurries */
} streams;

static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void streams_hurry(void)
{
	if (streams.hurries)
		return;
	streams.hurries = true;
	streams.until_ms = now_ms() + LAST_WORDS_MS;
}

/* Wait until the reader takes something, or is gone.  False: do not wait any longer. */
static bool await_reader(const struct stream *s)
{
	struct pollfd p[] = {
		{ .fd = s->fd, .events = POLLOUT },
		{ .fd = streams.signal_fd, .events = POLLIN },
	};
	for (;;) {
		int64_t left_ms = streams.until_ms - now_ms();
		int timeout_ms = left_ms > 0 ? (int)left_ms : 0;
		int n = poll(p, streams.hurries ? 1 : 2, streams.hurries ? timeout_ms : -1);
		if (n < 0 && errno != EINTR)
			return false;
		if (n == 0)
			return false;
		if (n > 0 && p[0].revents)
			return true;
		if (n > 0)
			streams_hurry();
	}
}

/* cookie_write_function_t: anything less than all is an error, and errno says which. */
static ssize_t put(void *cookie, const char *data, size_t len)
{
	const struct stream *s = cookie;
	size_t done = 0;
	while (done < len) {
		if (!await_reader(s)) {
			errno = EINTR;
			break;
		}
		size_t rest = len - done;
		ssize_t n = write(s->fd, data + done, rest < s->max ? rest : s->max);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			break;
		done += n > 0 ? (size_t)n : 0;
	}
	return (ssize_t)done;
}

/* O_NONBLOCK belongs to the open description, which we share with our parent.  So a pipe or a
 * terminal is opened once more; if that fails, poll(2) promises room for PIPE_BUF bytes. */
static struct stream open_stream(int fd)
{
	struct stream s = { .fd = fd, .max = PIPE_BUF };
	struct stat st;
	char path[32];
	if (fstat(fd, &st) < 0 || (!S_ISFIFO(st.st_mode) && !isatty(fd)))
		return s;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (own >= 0)
		s = (struct stream){ .fd = own, .max = SSIZE_MAX };
	return s;
}

/* Put a stream in the place of stdout or stderr. */
static void replace(FILE **standard, struct stream *s, int fd, int buffering)
{
	fflush(*standard); /* main() looks at the stream's errors */
	*s = open_stream(fd);
	FILE *file = fopencookie(s, "w", (cookie_io_functions_t){ .write = put });
	if (!file)
		return;
	setvbuf(file, NULL, buffering, BUFSIZ);
	*standard = file;
}

void streams_heed(const sigset_t *signals)
{
	if (streams.heeds)
		return;
	streams.signal_fd = signalfd(-1, signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (streams.signal_fd < 0)
		return;
	streams.heeds = true;
	replace(&stdout, &streams.out, STDOUT_FILENO, isatty(STDOUT_FILENO) ? _IOLBF : _IOFBF);
	replace(&stderr, &streams.err, STDERR_FILENO, _IOLBF);
}
