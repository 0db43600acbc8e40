/* SPDX-License-Identifier: Apache-2.0 */
#include "confirm.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "text.h"

bool can_ask(void)
{
	return isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

int confirm(struct cli_context *c, const char *question)
{
	char answer[16] = "";

	if (!can_ask())
		return cli_usage(c, "there is no terminal to ask on: give --force to do it");
	print_text(stderr, question);
	fputs("? [y/N] ", stderr);
	fflush(stderr);
	if (!fgets(answer, sizeof(answer), stdin))
		fputc('\n', stderr);
	answer[strcspn(answer, "\n")] = '\0';
	if (strcasecmp(answer, "y") == 0 || strcasecmp(answer, "yes") == 0)
		return 0;
	return cli_error(c, -ECANCELED, "not confirmed, nothing was changed");
}
