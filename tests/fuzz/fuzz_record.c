/* SPDX-License-Identifier: Apache-2.0 */
/* An instance's record, from its folder or from a client that wants a VM of the pool.  A record
 * that can be read can be written, and writing it again gives the same bytes. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "instance/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_DONE(record) record = { 0 };
	AUTO_DONE(record) back = { 0 };
	struct mvm_error err = { 0 };

	int r = record_parse((const char *)data, size, &record, &err);
	assert(r == err.code && r <= 0);
	if (r < 0)
		return 0;
	AUTO_FREE char *text = record_to_json(&record);
	assert(text);
	r = record_parse(text, strlen(text), &back, &err);
	assert(r == 0);
	AUTO_FREE char *again = record_to_json(&back);
	assert(again && strcmp(text, again) == 0);
	return 0;
}
