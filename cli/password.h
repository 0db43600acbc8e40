/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_PASSWORD_H
#define CLI_PASSWORD_H

#include "command.h"

/*
 * Read one line from standard input.
 *
 *   question  on standard error, when standard input is a terminal
 *   secret    show nothing of it on the terminal
 *   ret       without the end of the line; wiped and freed by password_free()
 *
 * Returns 0; -ECANCELED after Ctrl-C, -EINVAL without a line, -EFBIG.
 */
int password_read(struct cli_context *c, const char *question, bool secret, char **ret);

/* NULL is fine. */
void password_free(char *s);

static inline void auto_password(char **s)
{
	password_free(*s);
}
#define AUTO_PASSWORD __attribute__((cleanup(auto_password)))

#endif
