/* SPDX-License-Identifier: Apache-2.0 */
#include "net/wire.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

void wire_put_bytes(struct strbuf *b, uint16_t tag, const void *data, uint32_t len)
{
	uint16_t le_tag = htole16(tag);
	uint32_t le_len = htole32(len);
	strbuf_add(b, &le_tag, sizeof(le_tag));
	strbuf_add(b, &le_len, sizeof(le_len));
	strbuf_add(b, data, len);
}

void wire_put_str(struct strbuf *b, uint16_t tag, const char *s)
{
	if (s)
		wire_put_bytes(b, tag, s, (uint32_t)strlen(s));
}

void wire_put_u64(struct strbuf *b, uint16_t tag, uint64_t value)
{
	uint64_t le = htole64(value);
	wire_put_bytes(b, tag, &le, sizeof(le));
}

int wire_next(struct wire_reader *r, struct wire_field *ret)
{
	uint16_t tag;
	uint32_t len;

	if (r->left == 0)
		return 0;
	if (r->left < WIRE_FIELD_HEADER)
		return -EPROTO;
	memcpy(&tag, r->data, sizeof(tag));
	memcpy(&len, r->data + sizeof(tag), sizeof(len));
	len = le32toh(len);
	if (len > r->left - WIRE_FIELD_HEADER)
		return -EPROTO;

	*ret = (struct wire_field){ le16toh(tag), len, r->data + WIRE_FIELD_HEADER };
	r->data += WIRE_FIELD_HEADER + len;
	r->left -= WIRE_FIELD_HEADER + len;
	return 1;
}

int wire_get_u64(const struct wire_field *f, uint64_t *ret)
{
	uint64_t le;
	if (f->len != sizeof(le))
		return -EPROTO;
	memcpy(&le, f->data, sizeof(le));
	*ret = le64toh(le);
	return 0;
}

int wire_get_str(const struct wire_field *f, char **ret)
{
	if (memchr(f->data, 0, f->len))
		return -EPROTO;
	char *copy = strndup((const char *)f->data, f->len);
	if (!copy)
		return -ENOMEM;
	*ret = copy;
	return 0;
}

int wire_find(const void *payload, size_t len, uint16_t tag, struct wire_field *ret)
{
	struct wire_reader reader = { payload, len };
	struct wire_field field;
	int r;
	while ((r = wire_next(&reader, &field)) > 0) {
		if (field.tag == tag) {
			*ret = field;
			return 1;
		}
	}
	return r;
}

bool wire_find_u64(const void *payload, size_t len, uint16_t tag, uint64_t max, uint64_t *ret)
{
	struct wire_field field;
	uint64_t n;
	if (wire_find(payload, len, tag, &field) <= 0 || wire_get_u64(&field, &n) < 0 || n > max)
		return false;
	*ret = n;
	return true;
}
