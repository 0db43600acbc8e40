/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_RANGE_H
#define SERVICE_RANGE_H

/*
 * The header Range of a request, for one range of bytes: "bytes=0-99", "bytes=100-", "bytes=-10".
 * Several ranges, other units and what is none are ignored: then the whole file comes.
 *
 * Source: RFC 9110, section 14.2.
 */

#include <stdbool.h>
#include <stdint.h>

struct range {
	bool given;
	bool from_end;	       /* the last `from` bytes */
	uint64_t from, length; /* length 0: to the end */
};

/* text: the header, or NULL. */
void range_parse(const char *text, struct range *ret);

/* The part of a file of that size that a given range means.  False: none (416). */
bool range_within(const struct range *range, uint64_t size, uint64_t *ret_from,
		  uint64_t *ret_length);

#endif
