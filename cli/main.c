/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "commands.h"
#include "help.h"
#include "names.h"
#include "options.h"
#include "out.h"
#include "progress.h"

static const struct option root_options[] = {
	{ .name = "version", .kind = OPTION_FLAG, .help = "print the version" },
	{ .name = "json", .kind = OPTION_FLAG, .help = "print JSON" },
	{ 0 },
};

/* The options before the command's name. */
static const struct command root = { .path = "", .options = root_options };

int cli_error(struct cli_context *c, int code, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(c->err.text, sizeof(c->err.text), fmt, ap); /* a cut sentence is still one */
	va_end(ap);
	c->err.code = code;
	c->err.hint[0] = c->err.reason[0] = c->err.subject[0] = '\0';
	return code;
}

int cli_usage(struct cli_context *c, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(c->err.text, sizeof(c->err.text), fmt, ap);
	va_end(ap);
	c->err.code = -EINVAL;
	c->err.hint[0] = c->err.reason[0] = c->err.subject[0] = '\0';
	c->usage = true;
	return -EINVAL;
}

int cli_judged(struct cli_context *c, int r)
{
	c->usage = r == -EINVAL;
	return r;
}

/* Look for --json by hand: a line that cannot be parsed may ask for errors as JSON, too. */
static bool wants_json(char *const *argv)
{
	for (; *argv && strcmp(*argv, "--") != 0; argv++) {
		if (strcmp(*argv, "--json") == 0)
			return true;
	}
	return false;
}

/* No command has this name: show a group's commands, or suggest the nearest command. */
static int no_command(struct cli_context *c, const char *const *words, bool help)
{
	char buf[128];
	const char *nearest;

	if (help && (!words[0] || command_is_group(words[0]))) {
		if (words[0])
			help_group(stdout, words[0]);
		else
			help_all(stdout);
		return flush_results(c) < 0 ? show_error(c, NULL) : 0;
	}
	bool group = words[0] && command_is_group(words[0]);
	if (!words[0] || (group && (!words[1] || words[1][0] == '-'))) {
		if (c->json) { /* a program reads an object, not a page of help */
			cli_usage(c, "no command%s%s was given", group ? " of " : "",
				  group ? words[0] : "");
			return show_error(c, group ? words[0] : NULL);
		}
		if (group)
			help_group(stderr, words[0]);
		else
			help_all(stderr);
		return 2;
	}
	nearest = command_nearest(words, buf, sizeof(buf));
	if (nearest)
		cli_usage(c, "unknown command '%s%s%s', did you mean '%s'?", words[0],
			  group ? " " : "", group ? words[1] : "", nearest);
	else
		cli_usage(c, "unknown command '%s%s%s'", words[0], group ? " " : "",
			  group ? words[1] : "");
	return show_error(c, group ? words[0] : NULL);
}

/* Find mvm's own --json: a guest's command may have that word, too. */
static bool json_given(const struct args *a)
{
	for (size_t i = 0; i < a->n_values; i++) {
		if (a->values[i].given && str_eq(a->values[i].option->name, "json"))
			return true;
	}
	return false;
}

/* An empty value comes from a variable that was never set.  Taking the default would surprise. */
static int take_data_dir(struct cli_context *c, const struct args *a)
{
	if (args_given(a, "data-dir"))
		c->data_dir = args_string(a, "data-dir");
	if (c->data_dir && !c->data_dir[0])
		return cli_usage(c, "option '--data-dir' needs the name of a folder");
	return 0;
}

static int run_command(struct cli_context *c, const struct args *before,
		       const struct command *command, char *const *argv)
{
	AUTO_DONE(args) a = { 0 };
	int r = args_parse(command, argv, 0, &a, &c->err);

	if (r < 0) {
		c->usage = r == -EINVAL;
		return show_error(c, command->path);
	}
	c->json = json_given(before) || json_given(&a);
	if (args_flag(&a, "help")) {
		help_command(stdout, command);
		r = 0;
	} else if ((r = check_names(c, &a)) >= 0 && (r = take_data_dir(c, &a)) >= 0) {
		struct progress_view view;
		progress_view_init(&view, c->json);
		c->progress = (struct mvm_progress){ .size = sizeof(c->progress),
						     .fn = progress_view_event,
						     .arg = &view };
		r = command->run(c, &a);
		progress_view_leave(&view);
		c->progress = (struct mvm_progress){ 0 };
	}
	if (r >= 0 && flush_results(c) == 0)
		return r;
	if (c->err.code == 0) /* out of memory or a failed output: the code says it all */
		cli_error(c, r, "%s: %s",
			  ferror(stdout) ? "cannot write the result" : command->path, strerror(-r));
	return show_error(c, command->path);
}

/* Open standard streams that the parent closed.  Otherwise the next file or socket that mvm opens
 * would get such a number, and mvm would use it as standard input or output. */
static void open_standard_streams(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) < 0)
			open("/dev/null", O_RDWR); /* takes the lowest number, this one */
	}
}

int main(int argc, char **argv)
{
	struct cli_context c = { 0 };
	AUTO_DONE(args) before = { 0 };
	size_t name_len = 0;

	if (argc < 1)
		return 2;
	open_standard_streams();
	/* mvm must be able to use the files that it makes */
	umask(umask(0) & ~(mode_t)S_IRWXU);
	/* an inherited SIG_IGN for SIGCHLD would lose exit statuses */
	signal(SIGCHLD, SIG_DFL);
	c.json = wants_json(argv + 1);
	int used = args_parse(&root, argv + 1, ARGS_STOP_AT_WORD, &before, &c.err);
	if (used < 0) {
		c.usage = used == -EINVAL;
		return show_error(&c, NULL);
	}
	c.data_dir = args_string(&before, "data-dir");

	char *const *words = argv + 1 + used;
	if (args_flag(&before, "version") && !words[0])
		return run_command(&c, &before, &command_version, words);
	const struct command *command = command_find((const char *const *)words, &name_len);
	if (!command) {
		bool help = args_flag(&before, "help");
		for (char *const *w = words; *w && !help; w++)
			help = strcmp(*w, "--help") == 0 || strcmp(*w, "-h") == 0;
		return no_command(&c, (const char *const *)words, help);
	}
	if (args_flag(&before, "help")) {
		help_command(stdout, command);
		return flush_results(&c) < 0 ? show_error(&c, NULL) : 0;
	}
	return run_command(&c, &before, command, words + name_len);
}
