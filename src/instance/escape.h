/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_ESCAPE_H
#define INSTANCE_ESCAPE_H

/*
 * The way out of a terminal whose keys all go to a guest, as ssh has it: at the beginning of a
 * line, ~. ends the session and ~~ is one tilde.
 */

#include <stdbool.h>
#include <stddef.h>

enum escape_state {
	ESCAPE_LINE_START, /* the first key begins a line */
	ESCAPE_TILDE,	   /* a tilde is held back until the next key says what it was */
	ESCAPE_IN_LINE,
};

struct escape {
	enum escape_state state;
};

/*
 * Take keys.
 *
 *   out    room for n + 1 bytes: the keys that are the guest's
 *   ret_n  how many they are
 *
 * Returns true when the session is to end.
 */
bool escape_feed(struct escape *e, const char *keys, size_t n, char *out, size_t *ret_n);

#endif
