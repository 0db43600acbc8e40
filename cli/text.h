/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

/* Text for terminals: nothing that came from outside can move the cursor or change colours. */

#include <stddef.h>
#include <stdio.h>

/* Columns that s takes as print_text() prints it, one for each character. */
size_t text_width(const char *s);

/* Print s with '?' for each character that base/visible.h calls bad. */
void print_text(FILE *out, const char *s);

/* As print_text(), but at most so many columns. */
void print_start(FILE *out, const char *s, size_t columns);

/* The plural's ending of a word behind a number. */
static inline const char *plural(size_t n)
{
	return n == 1 ? "" : "s";
}

#define TEXT_COLUMNS 80

/*
 * Print a paragraph, wrapped at 80 columns; every line but the first begins with `indent` spaces.
 *
 *   column  where the cursor is now
 */
void print_wrapped(FILE *out, const char *s, size_t column, size_t indent);

#endif
