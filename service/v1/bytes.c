/* SPDX-License-Identifier: Apache-2.0 */
#include "v1/bytes.h"

#include <stdint.h>
#include <string.h>

#include "base/str.h"
#include "codec/base64.h"

static const char replacement[] = "\xef\xbf\xbd";

/* Bytes of the character that begins at p; 0: it is none.  A NUL is one. */
static size_t character(const char *p, size_t len)
{
	char c[5] = { 0 };
	memcpy(c, p, len < 4 ? len : 4);
	return c[0] ? str_utf8_len(c) : 1;
}

json_t *bytes_text(const void *data, size_t len)
{
	const char *p = data, *end = p + len;
	AUTO_DONE(strbuf) b = { 0 };

	while (p < end) {
		const char *from = p;
		size_t n;
		while (p < end && (n = character(p, (size_t)(end - p))) > 0)
			p += n;
		strbuf_add(&b, from, (size_t)(p - from));
		if (p < end) {
			strbuf_adds(&b, replacement);
			p++;
		}
	}
	return b.failed ? NULL : json_stringn(b.data ? b.data : "", b.len);
}

json_t *bytes_base64(const void *data, size_t len)
{
	AUTO_FREE char *text = base64_text(data, len);
	return text ? json_string(text) : NULL;
}

/* How many bytes at the end begin a character that is not whole. */
static size_t cut_tail(const char *p, size_t len)
{
	for (size_t n = 1; n <= 3 && n <= len; n++) {
		unsigned char c = (unsigned char)p[len - n];
		if (c < 0x80)
			return 0;
		if (c < 0xc0)
			continue; /* it continues one */
		size_t wants = 2u + (c >= 0xe0) + (c >= 0xf0);
		return wants > n && c <= 0xf4 ? n : 0;
	}
	return 0;
}

json_t *bytes_text_part(struct bytes_tail *t, const void *data, size_t len)
{
	AUTO_DONE(strbuf) b = { 0 };
	strbuf_add(&b, t->bytes, t->n);
	strbuf_add(&b, data, len);
	if (b.failed)
		return NULL;
	t->n = cut_tail(b.data, b.len);
	memcpy(t->bytes, b.data + b.len - t->n, t->n);
	return bytes_text(b.data, b.len - t->n);
}

json_t *bytes_text_end(struct bytes_tail *t)
{
	size_t n = t->n;
	t->n = 0;
	return n ? bytes_text(t->bytes, n) : NULL;
}
