/* SPDX-License-Identifier: Apache-2.0 */
#include "entry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"

#define ENTRY_MAX ((size_t)32 * 1024) /* a path, a target, two names, metadata */
/* of 4096 bytes of keys and values; a '=' and a newline come with each key */
#define METADATA_MAX 12288
#define OBJECT_COST  256u /* an entry's members and their keys */
#define ESCAPED_COST 6u	  /* of a byte */

ssize_t guest_entry_read(const char *data, size_t len, struct guest_entry *ret)
{
	enum { TYPE, MODE, SIZE, TIME, OWNER, GROUP, PATH, TARGET, METADATA, PARTS };
	const char *part[PARTS], *at = data;
	uint64_t size = 0;

	for (int i = 0; i < PARTS; i++) {
		const char *nul = memchr(at, 0, len - (size_t)(at - data));
		if (!nul)
			return len > ENTRY_MAX ? -EPROTO : 0;
		part[i] = at;
		at = nul + 1;
	}
	if (at - part[METADATA] > METADATA_MAX + 1 || part[PATH][0] != '/' ||
	    parse_u64(part[SIZE], 0, INT64_MAX, &size) < 0)
		return -EPROTO;
	*ret = (struct guest_entry){
		.type = part[TYPE][0],
		.mode = (unsigned)strtoul(part[MODE], NULL, 8) & 07777,
		.size = size,
		.time_ns = strtoll(part[TIME], NULL, 10),
		.path = part[PATH],
		.name = strrchr(part[PATH], '/') + 1,
		.owner = part[OWNER],
		.group = part[GROUP],
		.target = part[TARGET],
		.metadata = part[METADATA],
	};
	return at - data;
}

size_t guest_entry_cost(const char *data, size_t len)
{
	size_t n = OBJECT_COST + len;
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)data[i] < ' ')
			n += ESCAPED_COST - 1;
	}
	return n;
}
