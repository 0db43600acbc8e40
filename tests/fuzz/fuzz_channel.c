/* SPDX-License-Identifier: Apache-2.0 */
/* A byte stream of frames, arriving in pieces: the first byte of the input is their size. */
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/channel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int take_all(struct channel *c, size_t *taken)
{
	struct frame f;
	uint32_t sum = 0;
	int r;
	while ((r = channel_receive(c, &f)) > 0) {
		assert(f.len <= FRAME_PAYLOAD_MAX);
		for (uint32_t i = 0; i < f.len; i++)
			sum += f.payload[i]; /* every byte can be read */
		*taken += FRAME_HEADER_SIZE + f.len;
	}
	(void)sum;
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fds[2], r = 0;
	size_t piece = size ? data[0] + 1u : 1, taken = 0, at;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) < 0)
		return 0;
	AUTO_DONE(channel) c = { .fd = fds[0] };
	for (at = 1; at < size && r == 0; at += piece) {
		size_t n = size - at < piece ? size - at : piece;
		if (write(fds[1], data + at, n) != (ssize_t)n)
			break;
		r = take_all(&c, &taken);
		assert(taken <= at - 1 + n);
	}
	close(fds[1]);
	if (r == 0)
		r = take_all(&c, &taken);
	assert(r == -EPIPE || r == -EPROTO);
	close(fds[0]);
	return 0;
}
