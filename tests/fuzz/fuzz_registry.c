/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "registry/challenge.h"
#include "registry/reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Headers and documents of a registry: no value can break out of a header or reach a terminal. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	AUTO_FREE char *token = NULL;
	struct challenge c = { 0 };
	struct mvm_digest digest;
	struct mvm_error err = { 0 };
	char said[REPLY_SAID_SIZE];
	uint64_t first, total;
	const char *value;
	size_t len;

	challenge_add(&c, text, size);
	if (strpbrk(c.realm, "\r\n") || strpbrk(c.service, "\r\n") || (c.realm[0] && !c.bearer))
		abort();
	if (reply_header(text, size, "location", &value, &len) &&
	    (value < text || value + len > text + size))
		abort();
	reply_digest(text, size, &digest);
	reply_range(text, size, &first, &total);
	if (reply_token(text, size, &token, &err) < 0 ? !err.text[0]
						      : !token[0] || !!strpbrk(token, " \r\n"))
		abort();
	reply_said(text, size, said);
	if (strpbrk(said, "\r\n\x1b"))
		abort();
	return 0;
}
