/* SPDX-License-Identifier: Apache-2.0 */
#include "range.h"

#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "base/parse.h"
#include "base/str.h"

void range_parse(const char *text, struct range *ret)
{
	AUTO_FREE char *copy = text && str_starts(text, "bytes=") ? strdup(text + 6) : NULL;
	char *dash = copy ? strchr(copy, '-') : NULL;
	uint64_t from = 0, to = 0;

	*ret = (struct range){ 0 };
	if (!dash)
		return;
	*dash = '\0';
	bool has_from = parse_u64(copy, 0, INT64_MAX, &from) == 0;
	bool has_to = parse_u64(dash + 1, 0, INT64_MAX - 1, &to) == 0;
	if ((!has_from && copy[0]) || (!has_to && dash[1]) || (!has_from && !has_to) ||
	    (has_from && has_to && to < from))
		return;
	ret->given = true;
	ret->from_end = !has_from;
	ret->from = has_from ? from : to;
	ret->length = has_from && has_to ? to - from + 1 : 0;
}

bool range_within(const struct range *range, uint64_t size, uint64_t *ret_from,
		  uint64_t *ret_length)
{
	uint64_t from = range->from;
	if (range->from_end)
		from = from < size ? size - from : 0;
	if (from >= size || (range->from_end && range->from == 0))
		return false;
	*ret_from = from;
	*ret_length = size - from;
	if (range->length && range->length < *ret_length)
		*ret_length = range->length;
	return true;
}
