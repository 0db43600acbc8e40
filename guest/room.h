/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_ROOM_H
#define GUEST_ROOM_H

/* Find how much room a path in the guest has, before it is written to and meanwhile. */

#include <mvm/error.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct room {
	uint64_t bytes; /* UINT64_MAX when it cannot be known */
	bool in_memory; /* a write there fills the guest's memory */
};

/*
 * Look at the file system of a path, whose last parts may be missing.  In memory, a
 * sixteenth of all memory does not count as room, because the guest's processes need some, too.
 */
void room_look(const char *path, struct room *ret);

/* Standard input, whose bytes are written to a path: { .path = path }. */
struct room_input {
	const char *path;
	size_t unlooked; /* bytes that may come before the next look at the free memory */
};

/* Read some of it.  Returns how much, 0 at its end, or -errno with the error set: -ENOSPC before
 * the guest's other processes run out of memory. */
ssize_t room_read(struct room_input *in, void *ret, size_t size, struct mvm_error *err);

#endif
