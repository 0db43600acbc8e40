/* SPDX-License-Identifier: Apache-2.0 */
#include "net/channel.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define READ_SIZE	32768u
#define FROM_FRAMES_MAX 8u /* one window in pieces of DATA_MAX bytes */

/* Parse one frame at the front of the received bytes.  1, 0 (not whole yet) or -EPROTO. */
static int parse_frame(const struct channel *c, struct frame *ret)
{
	size_t have = queue_len(&c->in);
	uint32_t len, stream;

	if (have < FRAME_HEADER_SIZE)
		return 0;
	const uint8_t *p = (const uint8_t *)queue_front(&c->in);
	memcpy(&len, p, sizeof(len));
	memcpy(&stream, p + 4, sizeof(stream));
	len = le32toh(len);
	if (len > FRAME_PAYLOAD_MAX || p[9] || p[10] || p[11])
		return -EPROTO;
	if (have - FRAME_HEADER_SIZE < len)
		return 0;
	*ret = (struct frame){
		.type = p[8],
		.stream = le32toh(stream),
		.len = len,
		.payload = p + FRAME_HEADER_SIZE,
	};
	return 1;
}

/* -EPIPE when the peer has gone.  A vsock connection that did not survive a snapshot
 * gives ENOTCONN. */
static int error_of(int err)
{
	return err == ECONNRESET || err == ENOTCONN ? -EPIPE : -err;
}

int channel_receive(struct channel *c, struct frame *ret)
{
	queue_take(&c->in, c->handed);
	c->handed = 0;
	for (;;) {
		int r = parse_frame(c, ret);
		if (r > 0)
			c->handed = FRAME_HEADER_SIZE + ret->len;
		if (r != 0)
			return r;
		if (c->reads++ >= CHANNEL_READS_MAX)
			break;

		char *room = strbuf_room(&c->in.buf, READ_SIZE);
		if (!room)
			return -ENOMEM;
		ssize_t n = read(c->fd, room, READ_SIZE);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return error_of(errno);
		if (n == 0)
			return -EPIPE;
		strbuf_added(&c->in.buf, (size_t)n);
	}
	c->reads = 0;
	return 0;
}

/* A socket must not raise SIGPIPE in a library's caller.  The guest's port is not a socket. */
static ssize_t write_some(struct channel *c, const void *data, size_t len)
{
	if (!c->is_file) {
		ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL);
		if (n >= 0 || errno != ENOTSOCK)
			return n;
		c->is_file = true; /* tried once: in a fresh clone even that takes time */
	}
	return write(c->fd, data, len);
}

int channel_flush(struct channel *c)
{
	int r = 0;
	while (channel_queued(c) > 0) {
		ssize_t n = write_some(c, queue_front(&c->out), channel_queued(c));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			if (errno != EAGAIN)
				r = error_of(errno);
			break;
		}
		queue_take(&c->out, (size_t)n);
	}
	return r;
}

static void put_header(void *to, uint8_t type, uint32_t stream, size_t len)
{
	uint8_t header[FRAME_HEADER_SIZE] = { 0 };
	uint32_t le_len = htole32((uint32_t)len), le_stream = htole32(stream);
	memcpy(header, &le_len, sizeof(le_len));
	memcpy(header + 4, &le_stream, sizeof(le_stream));
	header[8] = type;
	memcpy(to, header, sizeof(header));
}

static bool has_room(const struct channel *c, size_t len)
{
	return channel_queued(c) + len <= (c->out_limit ? c->out_limit : CHANNEL_OUT_DEFAULT);
}

ssize_t channel_send_from(struct channel *c, uint8_t type, uint32_t stream, uint8_t first, int fd,
			  size_t max, size_t piece, int *ret_sent)
{
	const size_t head = FRAME_HEADER_SIZE + 1;
	struct iovec parts[FROM_FRAMES_MAX];
	size_t n_parts = 0;

	assert(piece > 0 && piece < FRAME_PAYLOAD_MAX);
	*ret_sent = 0;
	char *room = strbuf_room(&c->out.buf, FROM_FRAMES_MAX * (head + piece));
	if (!room)
		return -ENOMEM;
	for (; max > 0 && n_parts < FROM_FRAMES_MAX; n_parts++) {
		size_t len = max < piece ? max : piece;
		parts[n_parts] = (struct iovec){ room + n_parts * (head + piece) + head, len };
		max -= len;
	}
	ssize_t n = readv(fd, parts, (int)n_parts);
	if (n <= 0)
		return n < 0 ? -errno : 0;
	size_t added = 0;
	for (size_t left = (size_t)n; left > 0;) {
		size_t len = left < piece ? left : piece;
		put_header(room + added, type, stream, len + 1);
		room[added + FRAME_HEADER_SIZE] = (char)first;
		added += head + len;
		left -= len;
	}
	if (!has_room(c, added)) {
		*ret_sent = -ENOBUFS;
		return n;
	}
	strbuf_added(&c->out.buf, added);
	*ret_sent = channel_flush(c);
	return n;
}

int channel_send(struct channel *c, uint8_t type, uint32_t stream, const void *payload, size_t len)
{
	uint8_t header[FRAME_HEADER_SIZE];

	assert(len <= FRAME_PAYLOAD_MAX);
	if (!has_room(c, sizeof(header) + len))
		return -ENOBUFS;
	put_header(header, type, stream, len);
	queue_add(&c->out, header, sizeof(header));
	queue_add(&c->out, payload, len);
	if (c->out.buf.failed)
		return -ENOMEM;
	return channel_flush(c);
}

static void trim(struct queue *q)
{
	if (queue_len(q) == 0 && !q->buf.failed)
		queue_done(q);
}

void channel_trim(struct channel *c)
{
	trim(&c->in);
	trim(&c->out);
}

void channel_done(struct channel *c)
{
	queue_done(&c->in);
	queue_done(&c->out);
}
