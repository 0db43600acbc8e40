/* SPDX-License-Identifier: Apache-2.0 */
#include "say.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

#define VALUE_MAX 1024u

static bool is_plain(const char *s)
{
	for (; *s; s++) {
		if (!isalnum((unsigned char)*s) && !strchr("._-/:@+", *s))
			return false;
	}
	return true;
}

static void add_value(struct strbuf *b, const char *s)
{
	if (*s && is_plain(s)) {
		strbuf_adds(b, s);
		return;
	}
	strbuf_adds(b, "\"");
	for (size_t i = 0; i < VALUE_MAX && s[i]; i++) {
		unsigned char c = (unsigned char)s[i];
		if (c == '"' || c == '\\')
			strbuf_addf(b, "\\%c", c);
		else if (c < 0x20 || c >= 0x7f)
			strbuf_addf(b, "\\x%02x", c);
		else
			strbuf_add(b, s + i, 1);
	}
	strbuf_adds(b, "\"");
}

void say(enum say_level level, const char *event, ...)
{
	static const char *const names[] = {
		[SAY_ERR] = "error", [SAY_WARNING] = "warning", [SAY_INFO] = "info"
	};
	AUTO_DONE(strbuf) b = { 0 };
	va_list args;

	if (getenv("JOURNAL_STREAM")) /* sd-daemon(3): the journal reads the level here */
		strbuf_addf(&b, "<%d>", (int)level);
	strbuf_addf(&b, "level=%s event=%s", names[level], event);
	va_start(args, event);
	for (const char *key; (key = va_arg(args, const char *));) {
		const char *value = va_arg(args, const char *);
		if (!value)
			continue;
		strbuf_addf(&b, " %s=", key);
		add_value(&b, value);
	}
	va_end(args);
	strbuf_adds(&b, "\n");
	if (!b.failed)
		(void)!write(STDERR_FILENO, b.data, b.len);
}
