/* SPDX-License-Identifier: Apache-2.0 */
#include "websocket.h"

#include <endian.h>
#include <errno.h>
#include <nettle/sha1.h>
#include <string.h>

#include "base/own.h"
#include "codec/base64.h"

#define CONTROL_MAX 125u
#define HEAD_MAX    14u
#define KEY_BYTES   16u

int websocket_accept(const char *key, char ret[WEBSOCKET_KEY_SIZE])
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	struct sha1_ctx sha1;
	uint8_t digest[SHA1_DIGEST_SIZE];
	AUTO_FREE uint8_t *bytes = NULL;
	size_t len = 0;

	if (strlen(key) != 24)
		return -EINVAL;
	int r = base64_bytes(key, strlen(key), &bytes, &len);
	if (r < 0 || len != KEY_BYTES)
		return r == -ENOMEM ? r : -EINVAL;
	sha1_init(&sha1);
	sha1_update(&sha1, strlen(key), (const uint8_t *)key);
	sha1_update(&sha1, sizeof(guid) - 1, (const uint8_t *)guid);
	sha1_digest(&sha1, sizeof(digest), digest);
	AUTO_FREE char *text = base64_text(digest, sizeof(digest));
	if (!text)
		return -ENOMEM;
	memcpy(ret, text, WEBSOCKET_KEY_SIZE);
	return 0;
}

void websocket_done(struct websocket *w)
{
	queue_done(&w->in);
	strbuf_done(&w->message);
}

int websocket_add(struct websocket *w, const void *data, size_t len)
{
	queue_add(&w->in, data, len);
	return w->in.buf.failed ? -ENOMEM : 0;
}

struct head {
	bool fin;
	int opcode;
	size_t size; /* of the head itself */
	size_t len;  /* of the payload */
	uint8_t mask[4];
};

static bool is_control(int opcode)
{
	return opcode >= WEBSOCKET_CLOSE;
}

static bool is_known(int opcode)
{
	return opcode <= WEBSOCKET_BINARY || (is_control(opcode) && opcode <= WEBSOCKET_PONG);
}

/* Read a frame's head.  Returns 1, 0 (more bytes are needed) or an error. */
static int read_head(const uint8_t *p, size_t n, struct head *ret)
{
	if (n < 2)
		return 0;
	ret->fin = p[0] & 0x80;
	ret->opcode = p[0] & 0x0f;
	uint64_t len = p[1] & 0x7f;
	size_t size = 2;
	if ((p[0] & 0x70) || !(p[1] & 0x80) || !is_known(ret->opcode))
		return -EPROTO; /* a reserved bit, or no mask */
	if (is_control(ret->opcode) && (!ret->fin || len > CONTROL_MAX))
		return -EPROTO;
	size_t more = 0;
	if (len >= 126)
		more = len == 126 ? 2 : 8;
	if (n < size + more)
		return 0;
	if (more) {
		len = 0;
		for (size_t i = 0; i < more; i++)
			len = len << 8 | p[size + i];
		if (len < (more == 2 ? 126u : 65536u) || len >> 63)
			return -EPROTO; /* not the shortest form */
		size += more;
	}
	if (len > WEBSOCKET_MESSAGE_MAX)
		return -EFBIG;
	if (n < size + sizeof(ret->mask))
		return 0;
	memcpy(ret->mask, p + size, sizeof(ret->mask));
	ret->size = size + sizeof(ret->mask);
	ret->len = (size_t)len;
	return n < ret->size + ret->len ? 0 : 1;
}

static bool is_utf8(const char *text, size_t len)
{
	/* text is followed by a NUL, which str_utf8_len() stops at */
	for (size_t i = 0; i < len;) {
		size_t n = text[i] ? str_utf8_len(text + i) : 1;
		if (n == 0 || n > len - i)
			return false;
		i += n;
	}
	return true;
}

/* Take a frame of a message.  Returns 1 when the message is whole, else 0 or an error. */
static int take_data(struct websocket *w, const struct head *h, const uint8_t *payload)
{
	if ((h->opcode == WEBSOCKET_CONTINUATION) != (w->opcode != 0))
		return -EPROTO;
	if (h->len > WEBSOCKET_MESSAGE_MAX - w->message.len)
		return -EFBIG;
	if (h->opcode)
		w->opcode = h->opcode;
	char *room = strbuf_room(&w->message, h->len);
	if (!room)
		return -ENOMEM;
	for (size_t i = 0; i < h->len; i++)
		room[i] = (char)(payload[i] ^ h->mask[i & 3]);
	strbuf_added(&w->message, h->len);
	return h->fin;
}

/* Take a control frame; its payload is copied, since a queue moves its bytes. */
static int take_control(struct websocket *w, const struct head *h, const uint8_t *payload,
			struct websocket_message *ret)
{
	for (size_t i = 0; i < h->len; i++)
		w->control[i] = (char)(payload[i] ^ h->mask[i & 3]);
	ret->opcode = (enum websocket_opcode)h->opcode;
	ret->data = w->control;
	ret->len = h->len;
	w->closed = h->opcode == WEBSOCKET_CLOSE;
	return w->closed && h->len == 1 ? -EPROTO : 1; /* a code has two bytes */
}

int websocket_next(struct websocket *w, struct websocket_message *ret)
{
	if (w->opcode < 0) { /* the last call gave a message away */
		strbuf_consume(&w->message, w->message.len);
		w->opcode = 0;
	}
	while (!w->closed) {
		struct head h;
		const uint8_t *p = (const uint8_t *)queue_front(&w->in);
		int r = queue_len(&w->in) ? read_head(p, queue_len(&w->in), &h) : 0;
		if (r <= 0)
			return r;
		if (is_control(h.opcode)) {
			r = take_control(w, &h, p + h.size, ret);
			queue_take(&w->in, h.size + h.len);
			return r;
		}
		r = take_data(w, &h, p + h.size);
		queue_take(&w->in, h.size + h.len);
		if (r < 0)
			return r;
		if (r == 0)
			continue;
		ret->opcode = (enum websocket_opcode)w->opcode;
		ret->data = w->message.data ? w->message.data : "";
		ret->len = w->message.len;
		w->opcode = -1;
		return ret->opcode == WEBSOCKET_TEXT && !is_utf8(ret->data, ret->len) ? -EBADMSG
										      : 1;
	}
	return 0;
}

enum websocket_code websocket_code_of(int error)
{
	switch (error) {
	case -EPROTO:
		return WEBSOCKET_PROTOCOL_ERROR;
	case -EFBIG:
		return WEBSOCKET_TOO_BIG;
	case -EBADMSG:
		return WEBSOCKET_BAD_DATA;
	default:
		return WEBSOCKET_FAILED;
	}
}

void websocket_put(struct strbuf *out, enum websocket_opcode opcode, const void *head,
		   size_t head_len, const void *data, size_t len)
{
	uint8_t frame[10] = { (uint8_t)(0x80 | opcode) };
	size_t n = 2;
	uint64_t all = head_len + len;

	if (all < 126) {
		frame[1] = (uint8_t)all;
	} else if (all < 65536) {
		uint16_t be = htobe16((uint16_t)all);
		frame[1] = 126;
		memcpy(frame + n, &be, sizeof(be));
		n += sizeof(be);
	} else {
		uint64_t be = htobe64(all);
		frame[1] = 127;
		memcpy(frame + n, &be, sizeof(be));
		n += sizeof(be);
	}
	strbuf_add(out, frame, n);
	strbuf_add(out, head, head_len);
	strbuf_add(out, data, len);
}

void websocket_put_close(struct strbuf *out, enum websocket_code code, const char *reason)
{
	uint16_t be = htobe16((uint16_t)code);
	size_t n = 0;
	/* whole characters only */
	for (size_t more;
	     (more = str_utf8_len(reason + n)) && n + more <= CONTROL_MAX - sizeof(be);)
		n += more;
	websocket_put(out, WEBSOCKET_CLOSE, &be, sizeof(be), reason, n);
}
