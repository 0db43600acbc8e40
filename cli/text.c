/* SPDX-License-Identifier: Apache-2.0 */
#include "text.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static bool continues(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

size_t utf8_len(const char *s)
{
	unsigned char a = (unsigned char)s[0], b = (unsigned char)s[1];

	if (a < 0x80)
		return a ? 1 : 0;
	if (a < 0xc2 || a > 0xf4 || !continues(s[1]))
		return 0;
	if (a < 0xe0)
		return 2;
	if ((a == 0xe0 && b < 0xa0) || (a == 0xed && b > 0x9f) || !continues(s[2]))
		return 0;
	if (a < 0xf0)
		return 3;
	if ((a == 0xf0 && b < 0x90) || (a == 0xf4 && b > 0x8f) || !continues(s[3]))
		return 0;
	return 4;
}

/* C0, DEL and, as U+0080 to U+009F, C1. */
static bool is_control(const char *s)
{
	unsigned char a = (unsigned char)s[0];
	return a < 0x20 || a == 0x7f || (a == 0xc2 && (unsigned char)s[1] < 0xa0);
}

size_t text_width(const char *s)
{
	size_t width = 0;
	while (*s) {
		size_t len = utf8_len(s);
		s += len ? len : 1;
		width++;
	}
	return width;
}

void print_text(FILE *out, const char *s)
{
	print_start(out, s, SIZE_MAX);
}

void print_start(FILE *out, const char *s, size_t columns)
{
	for (; *s && columns > 0; columns--) {
		size_t len = utf8_len(s);
		if (len == 0 || is_control(s))
			(void)fputc('?', out); /* errors of the stream are looked at in the end */
		else
			(void)fwrite(s, 1, len, out);
		s += len ? len : 1;
	}
}

void print_wrapped(FILE *out, const char *s, size_t column, size_t indent)
{
	bool first = true;
	while (*s) {
		s += strspn(s, " \n");
		size_t len = strcspn(s, " \n");
		if (len == 0)
			break;
		if (!first && column + 1 + len > TEXT_COLUMNS) {
			(void)fprintf(out, "\n%*s", (int)indent, "");
			column = indent;
		} else if (!first) {
			(void)fputc(' ', out);
			column++;
		}
		(void)fwrite(s, 1, len, out);
		column += len;
		first = false;
		s += len;
	}
	(void)fputc('\n', out);
}
