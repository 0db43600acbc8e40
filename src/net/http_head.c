/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/parse.h"
#include "base/str.h"
#include "net/http.h"

/* One field of the head; not NUL-terminated. */
struct text {
	const char *p;
	size_t len;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* RFC 9110 5.6.2: tchar */
static bool is_token_char(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* Visible, blank or tab; bytes outside ASCII are allowed (RFC 9110 5.5: obs-text). */
static bool is_text_char(char c)
{
	return (unsigned char)c >= ' ' ? c != 0x7f : c == '\t';
}

static bool all(struct text t, bool (*is)(char))
{
	for (size_t i = 0; i < t.len; i++) {
		if (!is(t.p[i]))
			return false;
	}
	return true;
}

static bool text_is(struct text t, const char *s)
{
	return t.len == strlen(s) && strncasecmp(t.p, s, t.len) == 0;
}

static struct text trimmed(struct text t)
{
	while (t.len && (t.p[0] == ' ' || t.p[0] == '\t')) {
		t.p++;
		t.len--;
	}
	while (t.len && (t.p[t.len - 1] == ' ' || t.p[t.len - 1] == '\t'))
		t.len--;
	return t;
}

/* "HTTP/1.1 204 No Content"; the reason may be missing. */
static int read_status(struct text line, unsigned *ret, bool *ret_close, struct mvm_error *err)
{
	bool version_1 = line.len >= 12 && memcmp(line.p, "HTTP/1.", 7) == 0 &&
			 (line.p[7] == '0' || line.p[7] == '1') && line.p[8] == ' ';
	if (!version_1 || !all((struct text){ line.p + 9, 3 }, is_digit) ||
	    (line.len > 12 && line.p[12] != ' ') || !all(line, is_text_char))
		return mvm_error_set(err, -EPROTO, "the answer does not begin as HTTP does");
	*ret = (unsigned)(line.p[9] - '0') * 100 + (unsigned)(line.p[10] - '0') * 10 +
	       (unsigned)(line.p[11] - '0');
	*ret_close = line.p[7] == '0';
	if (*ret < 200 || *ret > 599)
		return mvm_error_set(err, -EPROTO, "the answer has status %u", *ret);
	return 0;
}

static int read_length(struct text value, bool again, size_t *ret, struct mvm_error *err)
{
	char digits[24];
	uint64_t n;
	if (value.len == 0 || value.len >= sizeof(digits) || !all(value, is_digit))
		return mvm_error_set(err, -EPROTO, "the answer's Content-Length is no number");
	memcpy(digits, value.p, value.len);
	digits[value.len] = '\0';
	int r = parse_u64(digits, 0, HTTP_BODY_MAX, &n);
	if (r < 0)
		return mvm_error_set(err, -EFBIG, "the answer is %s bytes long, more than %u",
				     digits, HTTP_BODY_MAX);
	if (again && *ret != n)
		return mvm_error_set(err, -EPROTO, "the answer has two lengths");
	*ret = (size_t)n;
	return 0;
}

static int read_field(struct text line, struct http_head *head, bool *has_length,
		      struct mvm_error *err)
{
	const char *colon = memchr(line.p, ':', line.len);
	struct text name = { line.p, colon ? (size_t)(colon - line.p) : 0 };
	if (name.len == 0 || !all(name, is_token_char) || !all(line, is_text_char))
		return mvm_error_set(err, -EPROTO, "the answer has a malformed header field");
	struct text value = trimmed((struct text){ colon + 1, line.len - name.len - 1 });

	if (text_is(name, "Content-Length")) {
		int r = read_length(value, *has_length, &head->body_len, err);
		*has_length = true;
		return r;
	}
	if (text_is(name, "Transfer-Encoding"))
		return mvm_error_set(err, -EOPNOTSUPP,
				     "the answer comes in pieces "
				     "(Transfer-Encoding)");
	if (text_is(name, "Connection") && text_is(value, "close"))
		head->close = true;
	return 0;
}

int http_head_parse(const char *data, size_t len, struct http_head *ret, struct mvm_error *err)
{
	struct http_head head = { 0 };
	bool has_length = false;
	size_t window = len < HTTP_HEAD_MAX ? len : HTTP_HEAD_MAX, at = 0;
	const char *end = window ? memmem(data, window, "\r\n\r\n", 4) : NULL;
	if (!end && len >= HTTP_HEAD_MAX)
		return mvm_error_set(err, -EFBIG, "the answer's head is longer than %u bytes",
				     HTTP_HEAD_MAX);
	if (!end)
		return 0;

	size_t head_len = (size_t)(end - data) + 4;
	int r = 0;
	while (r == 0 && at < head_len - 2) {
		const char *line_end = memmem(data + at, head_len - at, "\r\n", 2);
		struct text line = { data + at, (size_t)(line_end - data) - at };
		r = at == 0 ? read_status(line, &head.status, &head.close, err)
			    : read_field(line, &head, &has_length, err);
		at += line.len + 2;
	}
	if (r < 0)
		return r;
	bool bodiless = head.status == 204 || head.status == 304;
	if (bodiless && head.body_len)
		return mvm_error_set(err, -EPROTO, "an answer with status %u has a body",
				     head.status);
	if (!bodiless && !has_length)
		return mvm_error_set(err, -EPROTO, "the answer does not say how long it is");
	*ret = head;
	return (int)head_len;
}
