/* SPDX-License-Identifier: Apache-2.0 */
#include "base/str.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

static bool reserve(struct strbuf *b, size_t more)
{
	if (b->failed)
		return false;
	if (more > SIZE_MAX / 2 - b->len - 1) {
		b->failed = true;
		return false;
	}
	size_t need = b->len + more + 1;
	if (need <= b->cap)
		return true;

	size_t cap = b->cap ? b->cap : 64;
	while (cap < need)
		cap *= 2;
	char *data = realloc(b->data, cap);
	if (!data) {
		b->failed = true;
		return false;
	}
	b->data = data;
	b->cap = cap;
	return true;
}

void strbuf_add(struct strbuf *b, const void *data, size_t len)
{
	if (!reserve(b, len))
		return;
	if (len)
		memcpy(b->data + b->len, data, len);
	b->len += len;
	b->data[b->len] = '\0';
}

void strbuf_add_url_path(struct strbuf *b, const char *path, size_t len, bool keep_escapes)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)path[i];
		bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
			     (c >= 'a' && c <= 'z') || (c && strchr("-._~/", c)) ||
			     (c == '%' && keep_escapes);
		if (plain)
			strbuf_add(b, &path[i], 1);
		else
			strbuf_addf(b, "%%%02X", c);
	}
}

char *strbuf_room(struct strbuf *b, size_t len)
{
	return reserve(b, len) ? b->data + b->len : NULL;
}

void strbuf_added(struct strbuf *b, size_t len)
{
	b->len += len;
	b->data[b->len] = '\0';
}

void strbuf_adds(struct strbuf *b, const char *s)
{
	strbuf_add(b, s, strlen(s));
}

static void strbuf_vaddf(struct strbuf *b, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));

static void strbuf_vaddf(struct strbuf *b, const char *fmt, va_list ap)
{
	va_list again;
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	if (n < 0)
		b->failed = true;
	else if (reserve(b, (size_t)n)) {
		vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
		b->len += (size_t)n;
	}
	va_end(again);
}

void strbuf_addf(struct strbuf *b, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	strbuf_vaddf(b, fmt, ap);
	va_end(ap);
}

void strbuf_consume(struct strbuf *b, size_t n)
{
	if (n == 0)
		return;
	memmove(b->data, b->data + n, b->len - n + 1);
	b->len -= n;
}

char *strbuf_take(struct strbuf *b)
{
	if (!reserve(b, 0))
		return NULL;
	b->data[b->len] = '\0';
	char *text = b->data;
	*b = (struct strbuf){ 0 };
	return text;
}

void strbuf_done(struct strbuf *b)
{
	free(b->data);
	*b = (struct strbuf){ 0 };
}

static void strv_push(struct strv *l, char *owned)
{
	char **v = NULL;
	if (owned && !l->failed && l->n < SIZE_MAX / sizeof(*v) - 2)
		v = realloc(l->v, (l->n + 2) * sizeof(*v));
	if (!v) {
		l->failed = true;
		free(owned);
		return;
	}
	l->v = v;
	l->v[l->n++] = owned;
	l->v[l->n] = NULL;
}

void strv_add(struct strv *l, const char *s)
{
	strv_push(l, strdup(s));
}

void strv_addn(struct strv *l, const char *s, size_t len)
{
	strv_push(l, strndup(s, len));
}

void strv_addf(struct strv *l, const char *fmt, ...)
{
	struct strbuf b = { 0 };
	va_list ap;
	va_start(ap, fmt);
	strbuf_vaddf(&b, fmt, ap);
	va_end(ap);
	strv_push(l, strbuf_take(&b));
	strbuf_done(&b); /* empty unless memory ran out */
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void strv_sort(struct strv *l)
{
	if (l->n > 1)
		qsort(l->v, l->n, sizeof(*l->v), by_bytes);
}

bool strv_has(const struct strv *l, const char *s)
{
	for (size_t i = 0; i < l->n; i++) {
		if (strcmp(l->v[i], s) == 0)
			return true;
	}
	return false;
}

void strv_done(struct strv *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i]);
	free(l->v);
	*l = (struct strv){ 0 };
}

char *str_printf(const char *fmt, ...)
{
	struct strbuf b = { 0 };
	va_list ap;
	va_start(ap, fmt);
	strbuf_vaddf(&b, fmt, ap);
	va_end(ap);
	if (b.failed) {
		strbuf_done(&b);
		return NULL;
	}
	return strbuf_take(&b);
}

bool str_eq(const char *a, const char *b)
{
	if (!a || !b)
		return a == b;
	return strcmp(a, b) == 0;
}

bool str_eq_secret(const void *a, const void *b, size_t len)
{
	const unsigned char *x = a, *y = b;
	unsigned differ = 0;
	for (size_t i = 0; i < len; i++)
		differ |= x[i] ^ y[i];
	return differ == 0;
}

bool str_starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

char *str_dup(const char *s, bool *failed)
{
	char *copy = s ? strdup(s) : NULL;
	if (s && !copy)
		*failed = true;
	return copy;
}

#define NEAREST_MAX 63

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* How many letters were added, left out, replaced, or exchanged with their neighbours. */
static size_t edit_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	size_t rows[3][NEAREST_MAX + 1]; /* row i of the table is in rows[i % 3] */
	for (size_t j = 0; j <= b_len; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= a_len; i++) {
		size_t *row = rows[i % 3], *before = rows[(i + 2) % 3];
		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			row[j] = least(before[j - 1] + (a[i - 1] != b[j - 1]),
				       least(before[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = least(row[j], rows[(i + 1) % 3][j - 2] + 1);
		}
	}
	return rows[a_len % 3][b_len];
}

const char *str_nearest(const char *word, const char *const *candidates, size_t n)
{
	size_t word_len = strlen(word);
	const char *nearest = NULL;
	size_t best = word_len < 6 ? 2 : word_len / 3 + 1; /* a longer word may hold more slips */

	if (word_len == 0 || word_len > NEAREST_MAX)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(candidates[i]);
		if (len > NEAREST_MAX)
			continue;
		size_t distance = edit_distance(word, word_len, candidates[i], len);
		if (distance < best && distance < len) {
			best = distance;
			nearest = candidates[i];
		}
	}
	return nearest;
}

static bool continues(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

size_t str_utf8_len(const char *s)
{
	unsigned char a = (unsigned char)s[0];

	if (a < 0x80)
		return a ? 1 : 0;
	unsigned char b = (unsigned char)s[1];
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

bool mem_is_zero(const void *p, size_t len)
{
	const char *bytes = p;
	return len == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

void str_hex(const void *data, size_t len, char *ret)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *bytes = data;
	for (size_t i = 0; i < len; i++) {
		ret[2 * i] = digits[bytes[i] >> 4];
		ret[2 * i + 1] = digits[bytes[i] & 15];
	}
	ret[2 * len] = '\0';
}

void str_bytes(uint64_t bytes, char *ret, size_t ret_size)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	size_t unit = 0;
	uint64_t whole = bytes, rest = 0;

	while (whole >= 1024) {
		rest = whole % 1024;
		whole /= 1024;
		unit++;
	}
	if (rest && whole < 100)
		snprintf(ret, ret_size, "%" PRIu64 ".%" PRIu64 " %s", whole, rest * 10 / 1024,
			 units[unit]);
	else
		snprintf(ret, ret_size, "%" PRIu64 " %s", whole, units[unit]);
}
