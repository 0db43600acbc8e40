/* SPDX-License-Identifier: Apache-2.0 */
/* A payload of fields from a hostile peer, parsed as fields and as a call. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "net/wire.h"
#include "request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_reader reader = { data, size };
	struct wire_field field;
	size_t total = 0;
	int r;

	while ((r = wire_next(&reader, &field)) > 0) {
		uint64_t number;
		AUTO_FREE char *text = NULL;
		total += WIRE_FIELD_HEADER + field.len;
		assert(field.data >= data && field.data + field.len <= data + size);
		wire_get_u64(&field, &number);
		wire_get_str(&field, &text);
	}
	assert(r < 0 || total == size);

	AUTO_DONE(request) q = { 0 };
	struct mvm_error err = { 0 };
	r = request_parse(data, size, &q, &err);
	assert(r == err.code && r <= 0);
	return 0;
}
