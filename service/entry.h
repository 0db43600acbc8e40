/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_ENTRY_H
#define SERVICE_ENTRY_H

/* A file as the guest's agent describes it (doc/agent-protocol.md, "Files").  Bounded, since the
 * guest may send anything. */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct guest_entry {
	char type;     /* 'f', 'd', 'l', or any other */
	unsigned mode; /* up to 07777 */
	uint64_t size; /* up to INT64_MAX */
	int64_t time_ns;
	/* in the agent's output; bytes that need not be UTF-8 */
	const char *path, *name; /* absolute; after its last slash, "" of "/" */
	const char *owner, *group, *target;
	const char *metadata; /* lines KEY=VALUE, or "" */
};

/* Read the entry at the front of the agent's output.  Returns how many bytes it has, 0 when it is
 * not whole yet, or -EPROTO. */
ssize_t guest_entry_read(const char *data, size_t len, struct guest_entry *ret);

/*
 * About how many bytes an entry takes as JSON: for a limit on the entries that are kept together.
 * An entry of 14 bytes becomes an object of some hundreds, and a byte may become "\u0001".
 *
 *   data, len  the entry in the agent's output
 */
size_t guest_entry_cost(const char *data, size_t len);

#endif
