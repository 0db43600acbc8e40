/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_JSON_H
#define CLI_JSON_H

/*
 * Writing JSON (RFC 8259): pretty with two spaces, strings escaped, also what only a
 * terminal would obey, text that is not UTF-8 replaced by U+FFFD.  Named jsonw because json_ is
 *jansson's.
 *
 *	AUTO_DONE(jsonw) j = { 0 };
 *	jsonw_open(&j, NULL, '{');
 *	jsonw_string(&j, "name", name);
 *	jsonw_open(&j, "ports", '[');
 *	jsonw_u64(&j, NULL, 8080);
 *	jsonw_close(&j);
 *	jsonw_close(&j);
 *	return jsonw_print(&j, stdout);
 *
 * key is NULL for the outermost value and inside arrays.
 */

#include <stdio.h>

#include "base/str.h"

#define JSON_DEPTH_MAX 16

struct jsonw {
	struct strbuf text;
	unsigned depth;
	char closers[JSON_DEPTH_MAX];
	bool filled[JSON_DEPTH_MAX + 1]; /* something was written at this depth */
	bool compact;			 /* one line */
};

void jsonw_open(struct jsonw *j, const char *key, char bracket); /* '{' or '[' */
void jsonw_close(struct jsonw *j);
void jsonw_string(struct jsonw *j, const char *key, const char *value); /* NULL writes null */
void jsonw_text(struct jsonw *j, const char *key, const struct strbuf *value); /* with NULs in it */
void jsonw_u64(struct jsonw *j, const char *key, uint64_t value);
/* A value that the library wrote.  What a terminal would obey (base/visible.h) is escaped in it. */
void jsonw_raw(struct jsonw *j, const char *key, const char *json);
void jsonw_bool(struct jsonw *j, const char *key, bool value);

/* Print the text so far and forget it, within a long value.  Returns 0, -ENOMEM or -EIO. */
int jsonw_flush(struct jsonw *j, FILE *out);

/* Print such a value as jsonw_raw() adds it.  Returns 0, -ENOMEM or -EIO. */
int json_show(const char *json, FILE *out);

/* Print with a newline.  Returns 0, -ENOMEM or -EIO; everything must be closed. */
int jsonw_print(struct jsonw *j, FILE *out);

static inline void jsonw_done(struct jsonw *j)
{
	strbuf_done(&j->text);
}
DEFINE_AUTO_DONE(jsonw, jsonw_done)

#endif
