/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "base/error.h"
#include "command.h"
#include "commands.h"
#include "help.h"
#include "options.h"

/* Nothing has this name. */
static int unknown(struct cli_context *c, const struct args *a, const char *path,
		   const struct command *begins, size_t used)
{
	char buf[128];

	if (begins)
		return cli_usage(c, "'%s' is one argument too many", a->positionals[used]);
	const char *nearest = command_nearest(a->positionals, buf, sizeof(buf));
	cli_usage(c, "no such command: '%s'%s%s%s", path, nearest ? ", did you mean '" : "",
		  nearest ? nearest : "", nearest ? "'?" : "");
	return mvm_error_hint(&c->err, -EINVAL, "see 'mvm help'"); /* 'mvm help help' lists none */
}

static int run(struct cli_context *c, const struct args *a)
{
	AUTO_DONE(strbuf) path = { 0 };
	size_t used = 0;

	strbuf_adds(&path, "");
	for (size_t i = 0; i < a->n_positionals; i++)
		strbuf_addf(&path, "%s%s", i ? " " : "", a->positionals[i]);
	if (path.failed)
		return -ENOMEM;
	const struct command *command = command_find(a->positionals, &used);
	bool all = a->n_positionals == 0, whole = command && used == a->n_positionals;
	bool group = a->n_positionals == 1 && command_is_group(a->positionals[0]);
	if (!all && !whole && !group)
		return unknown(c, a, path.data, command, used);
	if (c->json)
		return help_json(stdout, path.data);
	if (whole)
		help_command(stdout, command);
	else if (group)
		help_group(stdout, path.data);
	else
		help_all(stdout);
	return 0;
}

static const struct option options[] = {
	{ .name = "json",
	  .kind = OPTION_FLAG,
	  .help = "print the commands with their arguments and options as JSON" },
	{ 0 },
};

const struct command command_help = {
	.path = "help",
	.summary = "Show help for mvm, or for one command or group",
	.positionals = { { .name = "COMMAND",
			   .help = "the command's name, such as 'template build'",
			   .optional = true,
			   .many = true,
			   .hint = VALUE_COMMAND } },
	.options = options,
	.run = run,
};
