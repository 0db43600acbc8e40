/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the head of an HTTP answer.  The client refuses them, waits for more or reads them,
 * and keeps its limits however the bytes were cut into packets. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "net/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http_head whole = { 0 }, part = { 0 };
	struct mvm_error err;
	int r = http_head_parse((const char *)data, size, &whole, &err);
	if (r <= 0)
		return 0;
	assert((size_t)r <= size && (unsigned)r <= HTTP_HEAD_MAX);
	assert(whole.body_len <= HTTP_BODY_MAX && whole.status >= 200 && whole.status <= 599);
	assert(http_head_parse((const char *)data, (size_t)r, &part, &err) == r);
	assert(http_head_parse((const char *)data, (size_t)r - 1, &part, &err) == 0);
	return 0;
}
