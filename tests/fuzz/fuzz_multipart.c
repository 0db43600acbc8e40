/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a body of multipart/form-data.  The reader refuses them or gives the same parts and
 * contents, whole and in pieces of one byte, and takes all bytes in the end. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "e2b/multipart.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Read a body in pieces.  ret: names and contents; returns multipart_next()'s last result. */
static int read_all(const char *data, size_t size, size_t piece, struct strbuf *ret)
{
	struct multipart m;
	struct multipart_event e;
	struct mvm_error err;
	size_t at = 0;
	int r = multipart_init(&m, "multipart/form-data; boundary=\"x\"", &err);
	assert(r == 0);
	while (r == 0 && at < size && m.state != AT_END) {
		size_t n = size - at < piece ? size - at : piece, given = n;
		r = multipart_next(&m, data + at, &n, &e, &err);
		assert(n <= given && m.head.len <= MULTIPART_HEAD_MAX + 1);
		if (r < 0)
			break;
		assert(n > 0 || e.kind != MULTIPART_MORE);
		at += n;
		if (e.kind == MULTIPART_PART)
			strbuf_addf(ret, "[%s]", m.filename ? m.filename : "");
		else if (e.kind == MULTIPART_DATA)
			strbuf_add(ret, e.data, e.len);
		else if (e.kind == MULTIPART_PART_END)
			strbuf_adds(ret, "$");
	}
	multipart_done(&m);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_DONE(strbuf) whole = { 0 };
	AUTO_DONE(strbuf) bytes = { 0 };
	int r = read_all((const char *)data, size, size, &whole);
	int s = read_all((const char *)data, size, 1, &bytes);
	assert(r == s && whole.len == bytes.len);
	assert(whole.len == 0 || memcmp(whole.data, bytes.data, whole.len) == 0);
	return 0;
}
