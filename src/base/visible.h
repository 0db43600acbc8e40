/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_VISIBLE_H
#define BASE_VISIBLE_H

/*
 * Text that came from outside, made safe to show on a terminal.
 *
 * A terminal obeys control characters: C0, DEL and C1 (the last as U+0080 to U+009F, and as single
 * bytes, which are no UTF-8).  Some characters turn the direction in which text is shown, so that
 * it reads as something else.
 */

#include "base/str.h"

/*
 * Bytes of the character at s, which is not the end of the text, if it must not reach a terminal:
 * a control, a turn of direction, or a byte that is no UTF-8.  0 for every other character.
 */
size_t visible_bad_len(const char *s);

/* The number of a bad character of len bytes, in Unicode if there are several. */
unsigned visible_code(const char *s, size_t len);

/*
 * Add text with its bad characters spelled out: "^[" for ESC, "^?" for DEL, "<9B>" for a byte,
 * "<U+202E>" for a character.  Newlines and tabs stay, and a carriage return goes that stands
 * before a newline.
 *
 *   s, len  NUL-terminated, and may hold NULs
 *   last    nothing follows
 *
 * Returns how many bytes were used.  Those left, three at most, may be the beginning of a
 * character: pass them again with what follows.
 */
size_t visible_add(struct strbuf *out, const char *s, size_t len, bool last);

#endif
