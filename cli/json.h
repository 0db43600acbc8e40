/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_JSON_H
#define CLI_JSON_H

/*
 * Writing JSON (RFC 8259): pretty with two spaces, strings escaped, text that is not UTF-8
 * replaced by U+FFFD.
 *
 *	AUTO_DONE(json) j = { 0 };
 *	json_open(&j, NULL, '{');
 *	json_string(&j, "name", name);
 *	json_open(&j, "ports", '[');
 *	json_u64(&j, NULL, 8080);
 *	json_close(&j);
 *	json_close(&j);
 *	return json_print(&j, stdout);
 *
 * key is NULL for the outermost value and inside arrays.
 */

#include <stdio.h>

#include "base/str.h"

#define JSON_DEPTH_MAX 16

struct json {
	struct strbuf text;
	unsigned depth;
	char closers[JSON_DEPTH_MAX];
	bool filled[JSON_DEPTH_MAX + 1]; /* something was written at this depth */
	bool compact;			 /* one line */
};

void json_open(struct json *j, const char *key, char bracket); /* '{' or '[' */
void json_close(struct json *j);
void json_string(struct json *j, const char *key, const char *value); /* NULL writes null */
void json_u64(struct json *j, const char *key, uint64_t value);
void json_bool(struct json *j, const char *key, bool value);

/* Print with a newline.  Returns 0, -ENOMEM or -EIO; everything must be closed. */
int json_print(struct json *j, FILE *out);

static inline void json_done(struct json *j)
{
	strbuf_done(&j->text);
}
DEFINE_AUTO_DONE(json, json_done)

#endif
