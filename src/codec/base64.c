/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/base64.h"

#include <errno.h>
#include <nettle/base64.h>
#include <stdlib.h>

#include "base/own.h"

char *base64_text(const void *data, size_t len)
{
	char *text = calloc(1, BASE64_ENCODE_RAW_LENGTH(len) + 1);

	if (text)
		base64_encode_raw(text, len, data);
	return text;
}

int base64_bytes(const char *text, size_t len, uint8_t **ret, size_t *ret_len)
{
	AUTO_FREE uint8_t *data = calloc(1, BASE64_DECODE_LENGTH(len) + 1);
	struct base64_decode_ctx ctx;
	size_t n = 0;

	if (!data)
		return -ENOMEM;
	base64_decode_init(&ctx);
	if (!base64_decode_update(&ctx, &n, data, len, text) || !base64_decode_final(&ctx))
		return -EINVAL;
	data[n] = '\0';
	*ret = TAKE_PTR(data);
	*ret_len = n;
	return 0;
}
