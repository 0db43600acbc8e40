/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_JSON_H
#define CLI_JSON_H

/*
 * Writing JSON (RFC 8259): pretty with two spaces, strings escaped, text that is not UTF-8
 * replaced by U+FFFD.  Named jsonw because json_ is jansson's.
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
void jsonw_u64(struct jsonw *j, const char *key, uint64_t value);
void jsonw_raw(struct jsonw *j, const char *key, const char *json); /* a value, as it is */
void jsonw_bool(struct jsonw *j, const char *key, bool value);

/* Print what there is so far and forget it, within a long value.  Returns 0, -ENOMEM or -EIO. */
int jsonw_flush(struct jsonw *j, FILE *out);

/* Print with a newline.  Returns 0, -ENOMEM or -EIO; everything must be closed. */
int jsonw_print(struct jsonw *j, FILE *out);

static inline void jsonw_done(struct jsonw *j)
{
	strbuf_done(&j->text);
}
DEFINE_AUTO_DONE(jsonw, jsonw_done)

#endif
