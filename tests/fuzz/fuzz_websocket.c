/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes from a client of a WebSocket.  They are messages within the limits, or an error,
 * however they were cut. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "websocket.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Returns a sum of all that is read; *ret_error the error that ended it, or 0. */
static uint32_t read_all(const uint8_t *data, size_t size, size_t piece, int *ret_error)
{
	struct websocket w = { 0 };
	struct websocket_message m;
	uint32_t sum = 0;
	int r = 0;

	for (size_t at = 0; at < size && r >= 0;) {
		size_t n = size - at < piece ? size - at : piece;
		assert(websocket_add(&w, data + at, n) == 0);
		at += n;
		while ((r = websocket_next(&w, &m)) > 0) {
			assert(m.len <= WEBSOCKET_MESSAGE_MAX);
			assert(m.opcode != WEBSOCKET_CONTINUATION);
			sum = sum * 31 + (uint32_t)m.opcode;
			for (size_t i = 0; i < m.len; i++)
				sum = sum * 31 + (uint8_t)m.data[i];
		}
	}
	*ret_error = r < 0 ? r : 0;
	websocket_done(&w);
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int error, other;
	uint32_t sum = read_all(data, size, SIZE_MAX, &error);

	for (size_t piece = 1; piece < 4; piece++) {
		assert(read_all(data, size, piece, &other) == sum);
		assert(error == other);
	}
	return 0;
}
