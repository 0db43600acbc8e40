/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the answer of a server in a guest.  The port proxy refuses them, waits for more or
 * reads them; it keeps its limits, and sees the same contents however the bytes were cut. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Read a body that comes in pieces.  Returns its contents' length and sum, or -1 for a bad one. */
static long long read_body(const struct head *h, const char *data, size_t len, size_t piece,
			   uint32_t *ret_sum)
{
	struct body b;
	long long all = 0;

	body_begin(&b, h);
	*ret_sum = 0;
	for (size_t at = 0; at < len && !b.ended;) {
		const char *part;
		size_t n, left = len - at;
		int r = body_take(&b, data + at, left < piece ? left : piece, &part, &n);
		if (r < 0)
			return -1;
		assert(r > 0 && (size_t)r <= left);
		assert(n == 0 || (part >= data + at && part + n <= data + at + r));
		for (size_t i = 0; i < n; i++)
			*ret_sum = *ret_sum * 31 + (uint8_t)part[i];
		all += (long long)n;
		at += (size_t)r;
	}
	assert(h->body != HEAD_BODY_LENGTH || (uint64_t)all <= h->length);
	return all;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct head *h = malloc(2 * sizeof(*h)), *again = h + 1;
	const char *text = (const char *)data;
	struct mvm_error err = { 0 };
	uint32_t sum, other;

	assert(h);
	int r = head_parse(text, size, false, h, &err);
	if (r > 0) {
		assert((size_t)r <= size && (size_t)r <= HEAD_BYTES_MAX);
		assert(h->status >= 100 && h->status <= 599 && h->n_fields <= HEAD_FIELDS_MAX);
		for (size_t i = 0; i < h->n_fields; i++) {
			const struct head_field *f = &h->fields[i];
			assert(f->name_len > 0 && f->name >= text &&
			       f->value + f->value_len <= text + r);
			assert(!memchr(f->name, '\n', f->name_len) &&
			       !memchr(f->value, '\n', f->value_len) &&
			       !memchr(f->value, '\r', f->value_len));
			(void)head_is_hop(h, f);
		}
		assert(head_parse(text, (size_t)r, false, again, &err) == r);
		assert(head_parse(text, (size_t)r - 1, false, again, &err) == 0);
		long long n = read_body(h, text + r, size - (size_t)r, SIZE_MAX, &sum);
		for (size_t piece = 1; piece < 4; piece++) {
			assert(read_body(h, text + r, size - (size_t)r, piece, &other) == n);
			assert(n < 0 || sum == other);
		}
	}
	free(h);
	return 0;
}
