/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "command.h"
#include "completion.h"
#include "options.h"

static int run(struct cli_context *c, const struct args *a)
{
	(void)c;
	const char *shell = args_at(a, 0);
	if (str_eq(shell, "bash"))
		completion_bash(stdout);
	else if (str_eq(shell, "zsh"))
		completion_zsh(stdout);
	else
		completion_fish(stdout);
	return 0;
}

const struct command command_completion = {
	.path = "completion",
	.summary = "Print completions for a shell",
	.details = "The script comes from the same tables as this help, so it knows every command "
		   "and option of this version.",
	.examples = "source <(mvm completion bash)\n"
		    "mvm completion zsh > ~/.zfunc/_mvm\n"
		    "mvm completion fish > ~/.config/fish/completions/mvm.fish",
	.positionals = { { .name = "SHELL",
			   .help = "bash, zsh or fish",
			   .choices = "bash|zsh|fish" } },
	.run = run,
};
