/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_BASE64_H
#define CODEC_BASE64_H

/* Base64 with its padding.  Source: RFC 4648, 4. */

#include <stddef.h>
#include <stdint.h>

/* Base64 in one line, free(3) it; NULL when out of memory. */
char *base64_text(const void *data, size_t len);

/* Decode base64; white space counts nothing.  ret: free(3) it, NUL-terminated.  0, -EINVAL or
 * -ENOMEM. */
int base64_bytes(const char *text, size_t len, uint8_t **ret, size_t *ret_len);

#endif
