/* SPDX-License-Identifier: Apache-2.0 */
#include "usernet/link.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "usernet/frame.h"

#define LINK_AT_ONCE 32768u /* the kernel sends so much in one piece: net/unix/af_unix.c */

static size_t length_at(const uint8_t *p)
{
	return (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
}

/* Does this look like a frame: a possible length, and an Ethernet head with a type that guests
 * send? */
static bool looks_like_a_frame(const uint8_t *p)
{
	size_t len = length_at(p);
	unsigned type = (unsigned)p[4 + 12] << 8 | p[4 + 13];
	return len >= 14 && len <= FRAME_READ_MAX &&
	       (type == 0x0800 || type == 0x0806 || type == 0x86dd) &&
	       (p[4 + 6] & 1) == 0; /* nobody sends as many */
}

/* Skip to the next frame.  Returns where it begins, or where bytes begin that may be a part of its
 * head. */
static size_t seek(struct link *l)
{
	size_t at = 0;
	while (l->in_len - at >= 4 + 14 && !looks_like_a_frame(l->in + at))
		at++;
	l->seeks = l->in_len - at < 4 + 14;
	return at;
}

size_t link_waiting(const struct link *l)
{
	return l->out.len - l->sent;
}

bool link_is_full(const struct link *l)
{
	return link_waiting(l) >= LINK_OUT_FULL;
}

bool link_has_frame(const struct link *l)
{
	return !link_is_full(l) && !l->seeks && l->in_len >= 4 && l->in_len - 4 >= length_at(l->in);
}

int link_read(struct link *l, link_frame_fn fn, void *arg)
{
	ssize_t n = 0;
	if (l->in_len < sizeof(l->in)) {
		n = recv(l->fd, l->in + l->in_len, sizeof(l->in) - l->in_len, MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno == ECONNRESET)) /* it had not read all */
			return -EPIPE;
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
	}
	l->in_len += n > 0 ? (size_t)n : 0;
	size_t at = l->seeks ? seek(l) : 0;
	while (!l->seeks && l->in_len - at >= 4 && !link_is_full(l)) {
		size_t len = length_at(l->in + at);
		if (len == 0 || len > LINK_FRAME_MAX)
			return -EPROTO;
		if (l->in_len - at - 4 < len)
			break;
		fn(arg, l->in + at + 4, len);
		at += 4 + len;
	}
	l->in_len -= at;
	memmove(l->in, l->in + at, l->in_len);
	return 0;
}

void link_write(struct link *l, const void *frame, size_t len)
{
	const uint8_t head[4] = { 0, (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len };
	if (len == 0 || len > LINK_FRAME_MAX || link_waiting(l) + 4 + len > LINK_OUT_MAX) {
		l->lost++;
		return;
	}
	strbuf_add(&l->out, head, sizeof(head));
	strbuf_add(&l->out, frame, len);
}

/* Count the bytes of whole frames that one send(2) takes whole or not at all.  So the VMM never
 * gets half a frame, whenever this process ends. */
static size_t whole_frames(const uint8_t *data, size_t len)
{
	size_t at = 0;
	while (at < len) {
		size_t end = at + 4 + length_at(data + at);
		if (end > LINK_AT_ONCE && at > 0)
			break;
		at = end;
	}
	return at;
}

int link_flush(struct link *l)
{
	int r = l->out.failed ? -ENOMEM : 0;
	while (r == 0 && link_waiting(l) > 0) {
		const uint8_t *next = (const uint8_t *)l->out.data + l->sent;
		ssize_t n = send(l->fd, next, whole_frames(next, link_waiting(l)),
				 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0)
			r = -errno;
		else
			l->sent += (size_t)n;
	}
	/* seldom: move the waiting bytes to the front */
	if (l->sent == l->out.len || l->sent > LINK_OUT_ENOUGH) {
		strbuf_consume(&l->out, l->sent);
		l->sent = 0;
	}
	if (r == -ECONNRESET)
		return -EPIPE;
	return r == -EAGAIN || r == -EINTR ? 0 : r;
}
