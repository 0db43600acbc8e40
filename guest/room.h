/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_ROOM_H
#define GUEST_ROOM_H

/* Find how much room a path in the guest has. */

#include <stdbool.h>
#include <stdint.h>

struct room {
	uint64_t bytes; /* UINT64_MAX when it cannot be known */
	bool in_memory; /* a write there fills the guest's memory */
};

/*
 * Look at the file system of a path, whose last parts may be missing.  In memory, a
 * sixteenth of all memory does not count as room, because the guest's processes need some, too.
 */
void room_look(const char *path, struct room *ret);

#endif
