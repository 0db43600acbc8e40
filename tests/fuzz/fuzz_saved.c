/* SPDX-License-Identifier: Apache-2.0 */
/* A saved.json from a damaged disk or a stranger: refused with a sentence, or with every member. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "instance/saved.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_DONE(saved) s = { 0 };
	struct mvm_error err = { 0 };
	int r = saved_parse((const char *)data, size, &s, &err);
	assert(r <= 0 && r == err.code);
	if (r == 0)
		assert(s.base_nonce_sha256 && s.nonce_sha256 && s.state_sha256 && s.pages_sha256 &&
		       s.saved_at);
	return 0;
}
