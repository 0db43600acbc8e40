/* SPDX-License-Identifier: Apache-2.0 */
#include "head.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/own.h"

#define CHUNK_LINE_MAX 1024u /* a chunk's size with its extensions, or a trailer's field */
#define TAKE_MAX       ((size_t)1 << 30)

static bool is_token(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* A byte of a value: no control character but the tab. */
static bool is_value(char c)
{
	return c == '\t' || ((unsigned char)c >= ' ' && c != 0x7f);
}

/* The next line from *at on, without its end.  False: it is not whole. */
static bool next_line(const char *data, size_t len, size_t *at, const char **ret, size_t *ret_len)
{
	const char *line = data + *at, *end = memchr(line, '\n', len - *at);
	if (!end)
		return false;
	*at = (size_t)(end - data) + 1;
	*ret = line;
	*ret_len = (size_t)(end - line);
	if (*ret_len > 0 && end[-1] == '\r')
		--*ret_len;
	return true;
}

/* "HTTP/1.1 200 OK" */
static int parse_status(const char *line, size_t len, unsigned *ret, struct mvm_error *err)
{
	bool fits = len >= 12 && memcmp(line, "HTTP/1.", 7) == 0 &&
		    (line[7] == '0' || line[7] == '1') && line[8] == ' ' &&
		    (len == 12 || line[12] == ' ');
	unsigned status = 0;
	for (size_t i = 9; fits && i < 12; i++) {
		fits = line[i] >= '0' && line[i] <= '9';
		status = status * 10 + (unsigned)(line[i] - '0');
	}
	for (size_t i = 12; fits && i < len; i++)
		fits = is_value(line[i]);
	if (!fits || status < 100 || status > 599)
		return mvm_error_set(err, -EPROTO, "the guest's server does not speak HTTP/1.1");
	*ret = status;
	return 0;
}

static int parse_field(const char *line, size_t len, struct head_field *ret, struct mvm_error *err)
{
	size_t name = 0;
	while (name < len && is_token(line[name]))
		name++;
	if (name == 0 || name == len || line[name] != ':')
		return mvm_error_set(err, -EPROTO, "the guest's server sent a damaged header");
	size_t from = name + 1, to = len;
	while (from < to && is_blank(line[from]))
		from++;
	while (to > from && is_blank(line[to - 1]))
		to--;
	for (size_t i = from; i < to; i++) {
		if (!is_value(line[i]))
			return mvm_error_set(err, -EPROTO,
					     "the guest's server sent a damaged header");
	}
	*ret = (struct head_field){ line, line + from, name, to - from };
	return 0;
}

bool head_field_is(const struct head_field *f, const char *name)
{
	return strlen(name) == f->name_len && strncasecmp(f->name, name, f->name_len) == 0;
}

/* The next word of a list, "a, b".  False: there is none. */
static bool next_word(const struct head_field *f, size_t *at, const char **ret, size_t *ret_len)
{
	while (*at < f->value_len && (is_blank(f->value[*at]) || f->value[*at] == ','))
		++*at;
	size_t from = *at;
	while (*at < f->value_len && f->value[*at] != ',')
		++*at;
	size_t to = *at;
	while (to > from && is_blank(f->value[to - 1]))
		to--;
	*ret = f->value + from;
	*ret_len = to - from;
	return to > from;
}

static bool lists(const struct head *h, const char *name, const char *word, size_t word_len)
{
	for (size_t i = 0; i < h->n_fields; i++) {
		const char *w;
		size_t at = 0, n;
		if (!head_field_is(&h->fields[i], name))
			continue;
		while (next_word(&h->fields[i], &at, &w, &n)) {
			if (n == word_len && strncasecmp(w, word, n) == 0)
				return true;
		}
	}
	return false;
}

bool head_has_word(const struct head *h, const char *name, const char *word)
{
	return lists(h, name, word, strlen(word));
}

bool head_is_hop(const struct head *h, const struct head_field *f)
{
	static const char *const hops[] = {
		"connection", "keep-alive", "proxy-connection",	  "transfer-encoding",	"te",
		"trailer",    "upgrade",    "proxy-authenticate", "proxy-authorization"
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(hops); i++) {
		if (head_field_is(f, hops[i]))
			return true;
	}
	return lists(h, "connection", f->name, f->name_len);
}

static int parse_length(const struct head_field *f, uint64_t *ret)
{
	uint64_t n = 0;
	if (f->value_len == 0 || f->value_len > 18)
		return -EPROTO;
	for (size_t i = 0; i < f->value_len; i++) {
		if (f->value[i] < '0' || f->value[i] > '9')
			return -EPROTO;
		n = n * 10 + (uint64_t)(f->value[i] - '0');
	}
	*ret = n;
	return 0;
}

/* Find out where the body ends. */
static int measure(struct head *h, bool is_head, struct mvm_error *err)
{
	bool chunked = false;
	for (size_t i = 0; i < h->n_fields; i++) {
		const struct head_field *f = &h->fields[i];
		uint64_t length = 0;
		if (head_field_is(f, "transfer-encoding")) {
			if (chunked || f->value_len != 7 ||
			    strncasecmp(f->value, "chunked", 7) != 0)
				return mvm_error_set(err, -EPROTO,
						     "the guest's server sent an unknown "
						     "Transfer-Encoding");
			chunked = true;
		} else if (head_field_is(f, "content-length")) {
			if (parse_length(f, &length) < 0 || (h->has_length && length != h->length))
				return mvm_error_set(
					err, -EPROTO,
					"the guest's server sent a damaged Content-Length");
			h->has_length = true;
			h->length = length;
		}
	}
	if (chunked && h->has_length)
		return mvm_error_set(err, -EPROTO,
				     "the guest's server sent a length beside chunks");
	if (is_head || h->status < 200 || h->status == 204 || h->status == 304)
		h->body = HEAD_BODY_NONE;
	else if (chunked)
		h->body = HEAD_BODY_CHUNKS;
	else
		h->body = h->has_length ? HEAD_BODY_LENGTH : HEAD_BODY_REST;
	return 0;
}

int head_parse(const char *data, size_t len, bool is_head, struct head *ret, struct mvm_error *err)
{
	size_t at = 0, line_len;
	const char *line;
	int r;

	ret->n_fields = 0;
	ret->has_length = false;
	ret->length = 0;
	if (!next_line(data, len, &at, &line, &line_len))
		goto more;
	r = parse_status(line, line_len, &ret->status, err);
	if (r < 0)
		return r;
	while (next_line(data, len, &at, &line, &line_len)) {
		if (at > HEAD_BYTES_MAX)
			break;
		if (line_len == 0) {
			r = measure(ret, is_head, err);
			return r < 0 ? r : (int)at;
		}
		if (ret->n_fields == HEAD_FIELDS_MAX)
			return mvm_error_set(err, -EFBIG,
					     "the guest's server sent more than %d headers",
					     HEAD_FIELDS_MAX);
		r = parse_field(line, line_len, &ret->fields[ret->n_fields++], err);
		if (r < 0)
			return r;
	}
more:
	if (len >= HEAD_BYTES_MAX)
		return mvm_error_set(err, -EFBIG, "the guest's server sent a head over %zu bytes",
				     HEAD_BYTES_MAX);
	return 0;
}

/* ---- bodies ---- */

enum {
	CHUNK_SIZE,
	CHUNK_EXTENSION,
	CHUNK_DATA,
	CHUNK_DATA_CR,
	CHUNK_DATA_LF,
	TRAILER_START,
	TRAILER
};

void body_begin(struct body *b, const struct head *h)
{
	*b = (struct body){ .kind = h->body };
	if (h->body == HEAD_BODY_LENGTH)
		b->left = h->length;
	b->ended = h->body == HEAD_BODY_NONE || (h->body == HEAD_BODY_LENGTH && b->left == 0);
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The end of a line with a chunk's size. */
static void size_done(struct body *b)
{
	b->lines = 0;
	b->state = b->left > 0 ? CHUNK_DATA : TRAILER_START;
}

/* One byte that is not a chunk's contents. */
static int take_framing(struct body *b, char c)
{
	int digit;

	if (++b->lines > CHUNK_LINE_MAX)
		return -EPROTO;
	switch (b->state) {
	case CHUNK_SIZE:
		digit = hex(c);
		if (digit >= 0 && b->left <= UINT64_MAX >> 5) {
			b->left = b->left << 4 | (unsigned)digit;
			return 0;
		}
		if (digit >= 0 || b->lines == 1)
			return -EPROTO;
		b->state = CHUNK_EXTENSION;
		if (c != ';' && !is_blank(c) && c != '\r' && c != '\n')
			return -EPROTO;
		__attribute__((fallthrough));
	case CHUNK_EXTENSION:
		if (c == '\n')
			size_done(b);
		return 0;
	case CHUNK_DATA_CR:
		b->state = CHUNK_DATA_LF;
		if (c == '\r')
			return 0;
		__attribute__((fallthrough));
	case CHUNK_DATA_LF:
		b->state = CHUNK_SIZE;
		b->lines = 0;
		return c == '\n' ? 0 : -EPROTO;
	case TRAILER_START:
		b->ended = c == '\n';
		if (c != '\n' && c != '\r')
			b->state = TRAILER;
		return 0;
	default: /* trailers are dropped */
		if (c == '\n') {
			b->state = TRAILER_START;
			/* lines goes on counting: all trailers together are bounded */
		}
		return 0;
	}
}

static int take_chunks(struct body *b, const char *data, size_t len, const char **ret,
		       size_t *ret_len)
{
	size_t at = 0;
	for (; at < len && !b->ended; at++) {
		if (b->state != CHUNK_DATA) {
			int r = take_framing(b, data[at]);
			if (r < 0)
				return r;
			continue;
		}
		size_t n = len - at;
		if (n > b->left)
			n = (size_t)b->left;
		*ret = data + at;
		*ret_len = n;
		b->left -= n;
		if (b->left == 0)
			b->state = CHUNK_DATA_CR;
		return (int)(at + n);
	}
	return (int)at;
}

int body_take(struct body *b, const char *data, size_t len, const char **ret, size_t *ret_len)
{
	*ret = data;
	*ret_len = 0;
	if (b->ended || len == 0)
		return 0;
	if (len > TAKE_MAX)
		len = TAKE_MAX;
	if (b->kind == HEAD_BODY_CHUNKS)
		return take_chunks(b, data, len, ret, ret_len);
	if (b->kind == HEAD_BODY_LENGTH && len > b->left)
		len = (size_t)b->left;
	*ret_len = len;
	if (b->kind == HEAD_BODY_LENGTH) {
		b->left -= len;
		b->ended = b->left == 0;
	}
	return (int)len;
}

int body_close(struct body *b)
{
	if (b->kind == HEAD_BODY_REST)
		b->ended = true;
	return b->ended ? 0 : -EPROTO;
}
