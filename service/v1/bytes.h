/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_V1_BYTES_H
#define SERVICE_V1_BYTES_H

/* A guest's bytes as strings of JSON, whatever they are. */

#include <jansson.h>
#include <stddef.h>

/* As text: bytes that are not UTF-8 become U+FFFD.  NULL: no memory, as below. */
json_t *bytes_text(const void *data, size_t len);

/* As base64, which loses nothing. */
json_t *bytes_base64(const void *data, size_t len);

/* Text that comes in parts: a character that the end of a part cuts waits for its rest. */
struct bytes_tail {
	char bytes[4];
	size_t n;
};
json_t *bytes_text_part(struct bytes_tail *t, const void *data, size_t len);
json_t *bytes_text_end(struct bytes_tail *t); /* NULL: nothing waits */

#endif
