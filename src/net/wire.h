/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_WIRE_H
#define NET_WIRE_H

/*
 * Fields: the layout of an agent message's payload (doc/agent-protocol.md).
 *
 * A payload is a sequence of fields: u16 tag, u32 length, that many bytes; all little-endian.  A
 * tag may repeat, which makes a list.  A number is 8 bytes.  Unknown tags are skipped, so that
 * either side may be newer.  The encoder is a strbuf; the decoder borrows the payload and never
 * reads past it.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

#define WIRE_FIELD_HEADER 6u

void wire_put_bytes(struct strbuf *b, uint16_t tag, const void *data, uint32_t len);
void wire_put_str(struct strbuf *b, uint16_t tag, const char *s); /* NULL: nothing is added */
void wire_put_u64(struct strbuf *b, uint16_t tag, uint64_t value);

struct wire_field {
	uint16_t tag;
	uint32_t len;
	const uint8_t *data;
};

struct wire_reader {
	const uint8_t *data;
	size_t left;
};

/* Next field.  Returns 1, 0 at the end, or -EPROTO when a field goes beyond the payload. */
int wire_next(struct wire_reader *r, struct wire_field *ret);

/* The field's value as a number: -EPROTO unless it is 8 bytes. */
int wire_get_u64(const struct wire_field *f, uint64_t *ret);

/* A copy of the field as text: -EPROTO when it holds a NUL, -ENOMEM. */
int wire_get_str(const struct wire_field *f, char **ret);

/* The first field with this tag.  Returns 1, 0 (absent) or -EPROTO. */
int wire_find(const void *payload, size_t len, uint16_t tag, struct wire_field *ret);

/* Is the first field with this tag a number of at most max?  *ret is set only then. */
bool wire_find_u64(const void *payload, size_t len, uint16_t tag, uint64_t max, uint64_t *ret);

#endif
