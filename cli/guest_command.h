/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_GUEST_COMMAND_H
#define CLI_GUEST_COMMAND_H

/* Running a command in a guest with this terminal's streams; `run` and `exec` share it. */

#include <mvm/instance.h>

#include "base/str.h"
#include "options.h"

/* The options of a command in a guest, for guest_command_parse().  heading: in the help. */
#define GUEST_COMMAND_OPTIONS(heading)                                                             \
	{ .name = "interactive",                                                                   \
	  .letter = 'i',                                                                           \
	  .kind = OPTION_FLAG,                                                                     \
	  .help = "pass standard input to the command",                                            \
	  .group = (heading) },                                                                    \
		{ .name = "tty",                                                                   \
		  .letter = 't',                                                                   \
		  .kind = OPTION_FLAG,                                                             \
		  .help = "give the command a terminal",                                           \
		  .group = (heading) },                                                            \
		{ .name = "env",                                                                   \
		  .letter = 'e',                                                                   \
		  .kind = OPTION_LIST,                                                             \
		  .value = "NAME=VALUE",                                                           \
		  .help = "add a variable to its environment",                                     \
		  .group = (heading) },                                                            \
		{ .name = "env-file",                                                              \
		  .kind = OPTION_LIST,                                                             \
		  .value = "FILE",                                                                 \
		  .help = "read variables from a file: a NAME=VALUE on each line; # begins a "     \
			  "comment",                                                               \
		  .group = (heading),                                                              \
		  .hint = VALUE_FILE },                                                            \
		{ .name = "workdir",                                                               \
		  .letter = 'w',                                                                   \
		  .kind = OPTION_STRING,                                                           \
		  .value = "DIR",                                                                  \
		  .help = "run it in this folder of the guest",                                    \
		  .group = (heading) },                                                            \
		{ .name = "user",                                                                  \
		  .letter = 'u',                                                                   \
		  .kind = OPTION_STRING,                                                           \
		  .value = "USER[:GROUP]",                                                         \
		  .help = "run it as this user of the guest (default: the workload's)",            \
		  .group = (heading) },                                                            \
	{                                                                                          \
		.name = "timeout", .kind = OPTION_DURATION, .value = "TIME",                       \
		.help = "kill the command after this time, `90s`, `5m`; 0: no limit",              \
		.group = (heading)                                                                 \
	}

/* Part of the details in both commands' help. */
#define GUEST_COMMAND_INPUT                                                                        \
	"COMMAND's output is passed on. As with container tools, COMMAND "                         \
	"gets standard input only with -i; otherwise it reads an end of "                          \
	"file at once."

struct guest_command {
	char *const *argv;
	const struct strv *env; /* may be NULL */
	const char *workdir, *user;
	bool input; /* pass standard input on */
	bool tty;
	int64_t timeout_ms; /* 0: none */
	int signal_fd;	    /* of guest_signals_block() */
};

/*
 * Returns the command's status, 127 when the guest has no such program, 126 when it cannot be
 * executed (both with an error shown by the caller), or a negative errno with c->err filled.
 * c->failure_status is set for the failures: 128 + the signal for -ECANCELED.
 */
int guest_command_run(struct cli_context *c, struct mvm_instance *instance,
		      const struct guest_command *command);

/*
 * Read the command (what follows `--`) and GUEST_COMMAND_OPTIONS; *ret borrows from a and env,
 * which is env_collect()'s.  Done before a VM is started for it: a usage error when there is no
 * terminal to give.
 */
int guest_command_parse(struct cli_context *c, const struct args *a, const struct strv *env,
			struct guest_command *ret);

/* Block the signals that end or resize a terminal program and give a signalfd(2) of them; resize
 * also when the window's size is wanted.  Ignored ones stay ignored.  -1 when it cannot be had:
 * they then act as usual. */
int guest_signals_block(bool resize);

/* Take the next signal from it: its number, 0 when none has come or fd is -1.  A terminal has shown
 * ^C for a SIGINT, so a newline follows there. */
int guest_signals_take(int fd);

/* From here on signals act as usual: they end the process, and whatever it still waits for. */
void guest_signals_unblock(void);

#endif
