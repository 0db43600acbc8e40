/* SPDX-License-Identifier: Apache-2.0 */
/* A working-set.bin from a damaged disk or a stranger: refused, or with one bit for each page. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "start/working_set.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_DONE(working_set) s = { 0 };
	struct mvm_error err = { 0 };
	uint64_t mem_size = 0;

	/* the caller knows the size of memory, so it fits most inputs */
	if (size >= 24)
		memcpy(&mem_size, data + 16, sizeof(mem_size));
	mem_size *= WORKING_SET_PAGE;
	int r = working_set_parse(data, size, mem_size, &s, &err);
	assert(r == err.code && r <= 0);
	if (r < 0)
		return 0;
	assert(s.n_pages == mem_size / WORKING_SET_PAGE && s.n_set <= s.n_pages);
	uint64_t n = 0;
	for (uint64_t page = 0; page < s.n_pages; page++)
		n += s.bits[page / 8] >> page % 8 & 1;
	assert(n == s.n_set);
	return 0;
}
