/* SPDX-License-Identifier: Apache-2.0 */
#include "text.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/str.h"
#include "base/visible.h"

size_t text_width(const char *s)
{
	size_t width = 0;
	while (*s) {
		size_t len = str_utf8_len(s);
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
	const char *good = s; /* from here to s, to be printed as it is */

	for (; *s && columns > 0; columns--) {
		size_t bad = visible_bad_len(s);
		if (bad == 0) {
			s += str_utf8_len(s);
			continue;
		}
		fwrite(good, 1, (size_t)(s - good), out); /* main looks at errors */
		fputc('?', out);
		s += bad;
		good = s;
	}
	fwrite(good, 1, (size_t)(s - good), out);
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
			fprintf(out, "\n%*s", (int)indent, "");
			column = indent;
		} else if (!first) {
			fputc(' ', out);
			column++;
		}
		fwrite(s, 1, len, out);
		column += len;
		first = false;
		s += len;
	}
	fputc('\n', out);
}
