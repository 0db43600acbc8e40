/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_VISIBLE_H
#define BASE_VISIBLE_H

/*
 * Makes text from outside safe to show on a terminal.
 *
 * A terminal obeys control characters: C0, DEL and C1 (as U+0080 to U+009F, and as single bytes,
 * which are not UTF-8).  Some characters change the direction of text, so that it reads as
 * something else.
 */

#include "base/str.h"

/*
 * Length of the character at s if it must not reach a terminal: a control, a change of direction,
 * or a byte that is not UTF-8.  0 for every other character.  s is not the end of the text.
 */
size_t visible_bad_len(const char *s);

/* The number of a bad character of len bytes, in Unicode if there are several. */
unsigned visible_code(const char *s, size_t len);

/*
 * Add text with its bad characters spelled out: "^[" for ESC, "^?" for DEL, "<9B>" for a byte,
 * "<U+202E>" for a character.  Newlines and tabs stay.  A carriage return before a newline is
 * dropped.
 *
 *   s, len  NUL-terminated, and may hold NULs
 *   last    no text follows
 *
 * Returns how many bytes were used.  The rest, three bytes at most, may be the beginning of a
 * character: pass it again in front of the next text.
 */
size_t visible_add(struct strbuf *out, const char *s, size_t len, bool last);

#endif
