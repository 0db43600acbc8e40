/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_STR_H
#define BASE_STR_H

/*
 * Growable text and string lists.
 *
 * Both remember that memory ran out ("failed") and ignore later additions, so a caller adds as
 * much as it likes and checks once: strbuf_take(), or the `failed` field.
 * Zero is a valid empty value.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/own.h"

struct strbuf {
	char *data; /* NUL-terminated when not NULL */
	size_t len; /* without the NUL */
	size_t cap;
	bool failed;
};

void strbuf_add(struct strbuf *b, const void *data, size_t len);
void strbuf_adds(struct strbuf *b, const char *s);
void strbuf_addf(struct strbuf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Add a path in a URL's form: letters, digits and "-._~/" as they are, all else as %XX.
 * keep_escapes: '%' stays, for text that is escaped already. */
void strbuf_add_url_path(struct strbuf *b, const char *path, size_t len, bool keep_escapes);

/* Room for len more bytes at the end.  The caller fills it and counts the bytes with
 * strbuf_added().  NULL when memory ran out. */
char *strbuf_room(struct strbuf *b, size_t len);
void strbuf_added(struct strbuf *b, size_t len); /* at most the len of strbuf_room() */

/* Drop the first n bytes (n <= len). */
void strbuf_consume(struct strbuf *b, size_t n);

/* Give the text to the caller and leave b empty.  Never NULL unless memory ran out. */
char *strbuf_take(struct strbuf *b);

void strbuf_done(struct strbuf *b);
DEFINE_AUTO_DONE(strbuf, strbuf_done)

/* A list of owned strings, always followed by a NULL, usable as an argument vector. */
struct strv {
	char **v; /* NULL when nothing was ever added */
	size_t n;
	bool failed;
};

void strv_add(struct strv *l, const char *s);
void strv_addn(struct strv *l, const char *s, size_t len);
void strv_addf(struct strv *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void strv_sort(struct strv *l); /* byte order */
bool strv_has(const struct strv *l, const char *s);
void strv_done(struct strv *l);
DEFINE_AUTO_DONE(strv, strv_done)

/* Formatted copy; NULL when out of memory. */
char *str_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static inline bool str_empty(const char *s)
{
	return !s || !*s;
}

bool str_eq(const char *a, const char *b); /* NULL equals only NULL */

/* Are two secrets of len bytes the same?  How long it takes tells nothing about where they
 * differ. */
bool str_eq_secret(const void *a, const void *b, size_t len);
bool str_starts(const char *s, const char *prefix);

/* NULL-safe copy: NULL in, NULL out.  *failed is set when memory ran out. */
char *str_dup(const char *s, bool *failed);

/* The candidate nearest to word by edit distance, or NULL when none is near. */
const char *str_nearest(const char *word, const char *const *candidates, size_t n);

/* Bytes of the UTF-8 character at s; 0 at the end and for invalid bytes (Unicode 15, table 3-7). */
size_t str_utf8_len(const char *s);

/* Are all of len bytes zero? */
bool mem_is_zero(const void *p, size_t len);

/* Lower-case hex of len bytes, into 2 * len + 1 bytes at ret. */
void str_hex(const void *data, size_t len, char *ret);

/* 256 MiB, 1.5 GiB: binary units, at most one decimal; into ret_size bytes at ret. */
void str_bytes(uint64_t bytes, char *ret, size_t ret_size);

#endif
