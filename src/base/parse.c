/* SPDX-License-Identifier: Apache-2.0 */
#include "base/parse.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

/* Read digits from *s on; *s moves past them, also when their value is out of range. */
static int take_digits(const char **s, uint64_t *ret)
{
	uint64_t value = 0;
	bool overflow = false;
	const char *p = *s;

	if (!isdigit((unsigned char)*p))
		return -EINVAL;
	for (; isdigit((unsigned char)*p); p++) {
		uint64_t digit = (uint64_t)(*p - '0');
		overflow = overflow || value > (UINT64_MAX - digit) / 10;
		value = value * 10 + digit;
	}
	*s = p;
	*ret = value;
	return overflow ? -ERANGE : 0;
}

int parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret)
{
	uint64_t value;
	int r = take_digits(&s, &value);
	if (r == -EINVAL || *s)
		return -EINVAL;
	if (r < 0 || value < min || value > max)
		return -ERANGE;
	*ret = value;
	return 0;
}

/* How many KiB one unit is; 0 when it is no unit. */
static uint64_t unit_kib(const char *s)
{
	static const struct {
		char letter;
		uint64_t kib;
	} units[] = { { 'k', 1 }, { 'm', 1u << 10 }, { 'g', 1u << 20 }, { 't', 1u << 30 } };

	if (!*s)
		return 1u << 10;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (tolower((unsigned char)s[0]) != units[i].letter)
			continue;
		if (!s[1] || strcasecmp(s + 1, "b") == 0 || strcasecmp(s + 1, "ib") == 0)
			return units[i].kib;
	}
	return 0;
}

int parse_size_mib(const char *s, uint64_t max_mib, uint32_t *ret)
{
	uint64_t whole, fraction = 0, scale = 1;

	if (max_mib > UINT32_MAX)
		max_mib = UINT32_MAX; /* what ret can hold */
	int r = take_digits(&s, &whole);
	if (r == -EINVAL)
		return r;
	if (*s == '.') {
		const char *start = ++s;
		if (take_digits(&s, &fraction) < 0 || s - start > 6)
			return -EINVAL;
		for (const char *p = start; p < s; p++)
			scale *= 10;
	}
	uint64_t unit = unit_kib(s);
	if (unit == 0)
		return -EINVAL;
	if (r < 0 || whole > max_mib * 1024 / unit)
		return -ERANGE;

	uint64_t kib = whole * unit;
	if (fraction * unit % scale)
		return -EINVAL;
	kib += fraction * unit / scale;
	if (kib < 1024 || kib / 1024 > max_mib)
		return -ERANGE;
	if (kib % 1024)
		return -EINVAL;
	*ret = (uint32_t)(kib / 1024);
	return 0;
}

int parse_duration_ms(const char *s, int64_t max_ms, int64_t *ret)
{
	static const struct {
		const char *unit;
		uint64_t ms;
	} units[] = { { "", 1000 }, { "s", 1000 }, { "ms", 1 }, { "m", 60000 }, { "h", 3600000 } };
	uint64_t value;

	int r = take_digits(&s, &value);
	if (r == -EINVAL)
		return r;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(s, units[i].unit) != 0)
			continue;
		if (r < 0 || value > (uint64_t)max_ms / units[i].ms)
			return -ERANGE;
		*ret = (int64_t)(value * units[i].ms);
		return 0;
	}
	return -EINVAL;
}

int parse_age_s(const char *s, int64_t *ret)
{
	static const struct {
		char unit;
		uint64_t seconds;
	} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 }, { 'w', 604800 } };
	const uint64_t max = UINT64_C(100) * 366 * 86400;
	uint64_t value;

	int r = take_digits(&s, &value);
	if (r == -EINVAL)
		return r;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (s[0] != units[i].unit || s[1])
			continue;
		if (r < 0 || value == 0 || value > max / units[i].seconds)
			return -ERANGE;
		*ret = (int64_t)(value * units[i].seconds);
		return 0;
	}
	return -EINVAL;
}

bool parse_hostname_ok(const char *s)
{
	static const char letters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-";
	if (strlen(s) > HOSTNAME_LEN_MAX)
		return false;
	for (;; s++) {
		size_t label = strspn(s, letters);
		if (label == 0 || s[0] == '-' || s[label - 1] == '-')
			return false;
		s += label;
		if (*s != '.')
			return *s == '\0';
	}
}

bool parse_address_ok(const char *s)
{
	struct in6_addr address;
	return inet_pton(AF_INET, s, &address) == 1 || inet_pton(AF_INET6, s, &address) == 1;
}
