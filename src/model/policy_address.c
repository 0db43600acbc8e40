/* SPDX-License-Identifier: Apache-2.0 */
#include "model/policy_address.h"

#include <string.h>

#include "base/error.h"

static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

struct policy_address policy_address_v4(const uint8_t bytes[4])
{
	struct policy_address a;
	memcpy(a.bytes, mapped, sizeof(mapped));
	memcpy(a.bytes + sizeof(mapped), bytes, 4);
	return a;
}

bool policy_is_v4(const struct policy_address *a)
{
	return memcmp(a->bytes, mapped, sizeof(mapped)) == 0;
}

bool policy_is_in(const struct policy_address *a, const uint8_t *range, unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;
	if (memcmp(a->bytes, range, whole) != 0)
		return false;
	return rest == 0 || ((a->bytes[whole] ^ range[whole]) & (0xffu << (8 - rest)) & 0xffu) == 0;
}

struct range {
	uint8_t bytes[16];
	unsigned bits;
};

#define V4(a, b, c, d, n)                                                                          \
	{                                                                                          \
		{ [10] = 0xff, [11] = 0xff, a, b, c, d }, 96 + (n)                                 \
	}

static bool is_in_any(const struct policy_address *a, const struct range *ranges, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (policy_is_in(a, ranges[i].bytes, ranges[i].bits))
			return true;
	return false;
}

/* No rule opens these. */
static const struct range never[] = {
	V4(0, 0, 0, 0, 8),   V4(127, 0, 0, 0, 8),	  V4(224, 0, 0, 0, 4),
	V4(240, 0, 0, 0, 4), { { 0 }, 96 } /* ::, ::1 */, { { 0xff }, 8 },
};

static const struct range link_local[] = {
	V4(169, 254, 0, 0, 16),
	{ { 0xfe, 0x80 }, 10 },
};

static const struct range v4_not_public[] = {
	V4(10, 0, 0, 0, 8),	V4(100, 64, 0, 0, 10), V4(172, 16, 0, 0, 12),
	V4(192, 0, 0, 0, 24),	V4(192, 0, 2, 0, 24),  V4(192, 88, 99, 0, 24),
	V4(192, 168, 0, 0, 16), V4(198, 18, 0, 0, 15), V4(198, 51, 100, 0, 24),
	V4(203, 0, 113, 0, 24),
};

/* Within 2000::/3: Teredo and its neighbours, documentation, 6to4, documentation. */
static const struct range v6_not_public[] = {
	{ { 0x20, 0x01, 0x00 }, 23 },
	{ { 0x20, 0x01, 0x0d, 0xb8 }, 32 },
	{ { 0x20, 0x02 }, 16 },
	{ { 0x3f, 0xff }, 20 },
};

static const struct range nat64 = { { 0x00, 0x64, 0xff, 0x9b }, 96 };

#define IN_ANY(a, ranges) is_in_any(a, ranges, MVM_ARRAY_SIZE(ranges))

bool policy_is_never(const struct policy_address *a)
{
	return IN_ANY(a, never);
}

bool policy_is_link_local(const struct policy_address *a)
{
	return IN_ANY(a, link_local);
}

bool policy_is_translated(const struct policy_address *a)
{
	return policy_is_in(a, nat64.bytes, nat64.bits);
}

bool policy_is_multicast(const struct policy_address *a)
{
	static const struct range many[] = {
		V4(224, 0, 0, 0, 3), /* and broadcast */
		{ { 0xff }, 8 },
	};
	return IN_ANY(a, many);
}

bool policy_is_public(const struct policy_address *a)
{
	if (policy_is_translated(a)) {
		struct policy_address inner = policy_address_v4(a->bytes + 12);
		return policy_is_public(&inner);
	}
	if (policy_is_never(a) || policy_is_link_local(a))
		return false;
	if (policy_is_v4(a))
		return !IN_ANY(a, v4_not_public);
	return (a->bytes[0] & 0xe0) == 0x20 && !IN_ANY(a, v6_not_public);
}

size_t policy_inner(const struct policy_address *a, struct policy_address ret[POLICY_INNER_MAX])
{
	static const struct range nat64_local = { { 0x00, 0x64, 0xff, 0x9b, 0x00, 0x01 }, 48 };
	static const struct range six_to_four = { { 0x20, 0x02 }, 16 };
	static const struct range teredo = { { 0x20, 0x01 }, 32 };
	const uint8_t *b = a->bytes;
	if (policy_is_translated(a) || policy_is_in(a, nat64_local.bytes, nat64_local.bits)) {
		ret[0] = policy_address_v4(b + 12);
		return 1;
	}
	if (policy_is_in(a, six_to_four.bytes, six_to_four.bits)) {
		ret[0] = policy_address_v4(b + 2);
		return 1;
	}
	/* the server, and the client by its complement */
	if (policy_is_in(a, teredo.bytes, teredo.bits)) {
		const uint8_t client[4] = { b[12] ^ 0xffu, b[13] ^ 0xffu, b[14] ^ 0xffu,
					    b[15] ^ 0xffu };
		ret[0] = policy_address_v4(b + 4);
		ret[1] = policy_address_v4(client);
		return 2;
	}
	return 0;
}

static bool v4_part(const struct range *range, struct policy_v4 *ret)
{
	if (range->bits < 96 || memcmp(range->bytes, mapped, sizeof(mapped)) != 0)
		return false;
	memcpy(ret->address, range->bytes + sizeof(mapped), sizeof(ret->address));
	ret->bits = range->bits - 96;
	return true;
}

bool policy_v4_range(enum policy_v4_kind kind, size_t i, struct policy_v4 *ret)
{
	static const struct {
		const struct range *ranges;
		size_t n;
	} kinds[] = {
		[POLICY_V4_NEVER] = { never, MVM_ARRAY_SIZE(never) },
		[POLICY_V4_LINK_LOCAL] = { link_local, MVM_ARRAY_SIZE(link_local) },
		[POLICY_V4_PRIVATE] = { v4_not_public, MVM_ARRAY_SIZE(v4_not_public) },
	};
	for (size_t k = 0; k < kinds[kind].n; k++)
		if (v4_part(&kinds[kind].ranges[k], ret) && i-- == 0)
			return true;
	return false;
}

bool policy_rule_v4(const struct policy_rule *rule, struct policy_v4 *ret)
{
	struct range range = { .bits = rule->bits };
	if (rule->target == POLICY_ALL) {
		*ret = (struct policy_v4){ 0 };
		return true;
	}
	memcpy(range.bytes, rule->address.bytes, sizeof(range.bytes));
	return rule->target == POLICY_RANGE && v4_part(&range, ret);
}
