/* SPDX-License-Identifier: Apache-2.0 */
/* The beginning of a pages.bin from a damaged disk or a stranger: refused, or a map whose extents
 * ascend within the memory and give the file's size. */
#include <assert.h>
#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "vmm/pages.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_DONE(pages_map) map = { 0 };
	uint64_t n_memory = 0, file_bytes = 0, end = 0, n = 0;

	/* the caller knows both sizes, so they fit most inputs: the file's is at the end */
	if (size >= 24)
		memcpy(&n_memory, data + 16, sizeof(n_memory));
	if (size >= 8)
		memcpy(&file_bytes, data + size - 8, sizeof(file_bytes));
	int64_t r = pages_map_parse(data, size, file_bytes, n_memory, &map);
	if (r < 0) {
		assert(map.n == 0 && map.v == NULL);
		return 0;
	}
	for (size_t i = 0; i < map.n; i++) {
		assert(map.v[i].n > 0 && map.v[i].first >= end);
		end = map.v[i].first + map.v[i].n;
		assert(end > map.v[i].first && end <= n_memory);
		n += map.v[i].n;
	}
	assert(n == map.n_pages && r % PAGES_SIZE == 0 && (uint64_t)r <= size);
	assert(file_bytes == (uint64_t)r + n * PAGES_SIZE);
	return 0;
}
