/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "command.h"
#include "commands.h"
#include "help.h"
#include "options.h"

static int run(struct cli_context *c, const struct args *a)
{
	AUTO_DONE(strbuf) name = { 0 };
	char buf[128];
	size_t used = 0;

	if (c->json && a->n_positionals == 0)
		return help_json(stdout);
	if (c->json)
		return cli_usage(c, "--json lists all commands: leave '%s' out", a->positionals[0]);
	if (a->n_positionals == 0) {
		help_all(stdout);
		return 0;
	}
	const struct command *command = command_find(a->positionals, &used);
	if (command && used == a->n_positionals) {
		help_command(stdout, command);
		return 0;
	}
	if (a->n_positionals == 1 && command_is_group(a->positionals[0])) {
		help_group(stdout, a->positionals[0]);
		return 0;
	}
	if (command)
		return cli_usage(c, "'%s' is one argument too many", a->positionals[used]);
	const char *nearest = command_nearest(a->positionals, buf, sizeof(buf));
	if (nearest)
		return cli_usage(c, "no such command, did you mean '%s'?", nearest);
	for (size_t i = 0; i < a->n_positionals; i++)
		strbuf_addf(&name, "%s%s", i ? " " : "", a->positionals[i]);
	return cli_usage(c, "no such command: '%s'", name.failed ? "" : name.data);
}

static const struct option options[] = {
	{ .name = "json",
	  .kind = OPTION_FLAG,
	  .help = "print every command with its arguments and options as JSON" },
	{ 0 },
};

const struct command command_help = {
	.path = "help",
	.summary = "Show help for mvm or one command",
	.positionals = { { .name = "COMMAND",
			   .help = "the command's name, such as 'template build'",
			   .optional = true,
			   .many = true } },
	.options = options,
	.run = run,
};
