/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PARSE_H
#define BASE_PARSE_H

/* Numbers, sizes and host names as people write them.  Nothing is skipped, rounded or guessed. */

#include <stdbool.h>
#include <stdint.h>

/*
 * A decimal number without sign or white space.
 * Returns 0, -EINVAL (not a number) or -ERANGE (outside min..max); ret is set only on success.
 */
int parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret);

/*
 * An amount of memory or disk in MiB: `512M`, `2G`, `1.5GiB`, or a bare number of MiB.  K, M, G
 * and T are binary; an added `iB` or `B` changes nothing; upper and lower case are the same.
 * Returns 0, -EINVAL (not a size, or not a whole number of MiB) or -ERANGE (rounds to nothing, or
 * over max_mib).
 */
int parse_size_mib(const char *s, uint64_t max_mib, uint32_t *ret);

/* Seconds: `90`, `90s`, `5m`, `2h`, `250ms`.  Returns 0, -EINVAL or -ERANGE. */
int parse_duration_ms(const char *s, int64_t max_ms, int64_t *ret);

/* Seconds of an age: `30d`, `4w`, `12h`, `90m`, `45s`; the unit is needed.  Returns 0, -EINVAL or
 * -ERANGE (nothing, or over a hundred years). */
int parse_age_s(const char *s, int64_t *ret);

/*
 * Is this a valid host name?  It has at most HOSTNAME_LEN_MAX characters: labels separated by '.',
 * each of letters, digits and '-', none empty, none with '-' at an end.
 * Source: RFC 1123, section 2.1; Linux takes 64 characters, a label has 63.
 */
#define HOSTNAME_LEN_MAX 63u
bool parse_hostname_ok(const char *s);

/* Is it a numeric address, of IPv4 or IPv6 (inet_pton(3))? */
bool parse_address_ok(const char *s);

#endif
