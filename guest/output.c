/* SPDX-License-Identifier: Apache-2.0 */
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "net/agent.h"
#include "stream.h"

#define CHUNK	  16384u
#define DRAIN_MAX 64u /* chunks: four full pipes; a process that writes more must wait */

static void send_output(struct agent *a, const char *data, size_t len)
{
	if (!stream_may_send(a)) {
		a->output_lost += len;
		return;
	}
	if (a->output_lost) {
		char line[96];
		int n = snprintf(line, sizeof(line),
				 "\nmvm-agent: %llu bytes of output were lost\n",
				 (unsigned long long)a->output_lost);
		a->output_lost = 0;
		stream_send(a, FRAME_LOG, 0, line, (size_t)n);
	}
	stream_send(a, FRAME_LOG, 0, data, len);
}

/* Pass on one chunk of output.  Returns false when there is none. */
static bool pass_chunk(struct agent *a)
{
	char chunk[CHUNK];
	ssize_t n = read(a->output_fd, chunk, sizeof(chunk));
	if (n < 0 && errno == EINTR)
		return true;
	if (n < 0 && errno == EAGAIN)
		return false;
	if (n <= 0) { /* every process has closed its end */
		output_done(a);
		return false;
	}
	send_output(a, chunk, (size_t)n);
	return true;
}

static void on_output(void *arg, uint32_t events)
{
	(void)events;
	pass_chunk(arg); /* one per turn, so that calls need not wait */
}

int output_open(struct agent *a)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	AUTO_CLOSE int write_end = fds[1];
	a->output_fd = fds[0];
	int r = fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
	if (r == 0)
		r = loop_add_fd(a->loop, fds[0], EPOLLIN, on_output, a, &a->output_source);
	if (r < 0) {
		output_done(a);
		return r;
	}
	return TAKE_FD(write_end);
}

void output_drain(struct agent *a)
{
	for (unsigned i = 0; i < DRAIN_MAX && a->output_fd >= 0 && pass_chunk(a); i++)
		;
}

void output_done(struct agent *a)
{
	loop_source_free(TAKE_PTR(a->output_source));
	if (a->output_fd >= 0)
		close(TAKE_FD(a->output_fd)); /* only read from */
}
