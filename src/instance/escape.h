/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_ESCAPE_H
#define INSTANCE_ESCAPE_H

/*
 * The escape keys of a terminal session with a guest, as in ssh: at the beginning of a line, ~.
 * ends the session and ~~ is one tilde.
 */

#include <stdbool.h>
#include <stddef.h>

enum escape_state {
	ESCAPE_LINE_START, /* the first key begins a line */
	ESCAPE_TILDE,	   /* a tilde waits for the next key */
	ESCAPE_IN_LINE,
};

struct escape {
	enum escape_state state;
};

/*
 * Take keys.
 *
 *   out    room for n + 1 bytes: the keys for the guest
 *   ret_n  number of keys in out
 *
 * Returns true when the session must end.
 */
bool escape_feed(struct escape *e, const char *keys, size_t n, char *out, size_t *ret_n);

#endif
