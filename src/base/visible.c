/* SPDX-License-Identifier: Apache-2.0 */
#include "base/visible.h"

#include <string.h>

unsigned visible_code(const char *s, size_t len)
{
	const unsigned char *u = (const unsigned char *)s;
	if (len == 1)
		return u[0];
	if (len == 2)
		return (u[0] & 0x1fu) << 6 | (u[1] & 0x3fu);
	return (u[0] & 0x0fu) << 12 | (u[1] & 0x3fu) << 6 | (u[2] & 0x3fu);
}

/* C1, line and paragraph separators, and the controls of UAX #9, "Directional Formatting
 * Characters". */
static bool is_bad(unsigned code)
{
	return (code >= 0x80 && code <= 0x9f) || code == 0x061c || code == 0x200e ||
	       code == 0x200f || (code >= 0x2028 && code <= 0x202e) ||
	       (code >= 0x2066 && code <= 0x2069);
}

size_t visible_bad_len(const char *s)
{
	unsigned char a = (unsigned char)*s;
	size_t len = str_utf8_len(s);

	if (len == 0 || a < 0x20 || a == 0x7f)
		return 1;
	return (len == 2 || len == 3) && is_bad(visible_code(s, len)) ? len : 0;
}

/* Length of the UTF-8 character that begins with this byte. */
static size_t character_len(unsigned char first)
{
	if (first >= 0xf0)
		return 4;
	if (first >= 0xe0)
		return 3;
	return first >= 0xc2 ? 2 : 1;
}

/* Could these last bytes of a text be the beginning of a character? */
static bool is_beginning(const char *s, size_t len)
{
	unsigned char a = (unsigned char)*s;

	for (size_t i = 1; i < len; i++) {
		if (((unsigned char)s[i] & 0xc0) != 0x80)
			return false;
	}
	return a < 0xf5 && len < character_len(a);
}

static void add_bad(struct strbuf *out, const char *s, size_t len)
{
	unsigned char a = (unsigned char)*s;

	if (len > 1)
		strbuf_addf(out, "<U+%04X>", visible_code(s, len));
	else if (a < 0x80)
		strbuf_addf(out, "^%c", a ^ 0x40);
	else
		strbuf_addf(out, "<%02X>", a);
}

size_t visible_add(struct strbuf *out, const char *s, size_t len, bool last)
{
	size_t at = 0, good = 0; /* bytes from good to at are added unchanged */

	while (at < len) {
		size_t bad = s[at] == '\n' || s[at] == '\t' ? 0 : visible_bad_len(s + at);
		if (bad == 0) {
			at += s[at] == '\t' || s[at] == '\n' ? 1 : str_utf8_len(s + at);
			continue;
		}
		bool cut = s[at] == '\r' ? at + 1 == len : is_beginning(s + at, len - at);
		if (cut && !last)
			break;
		strbuf_add(out, s + good, at - good);
		if (s[at] != '\r' || s[at + 1] != '\n')
			add_bad(out, s + at, bad);
		at += bad;
		good = at;
	}
	strbuf_add(out, s + good, at - good);
	return at;
}
