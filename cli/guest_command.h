/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_GUEST_COMMAND_H
#define CLI_GUEST_COMMAND_H

/* Running a command in a guest with this terminal's streams; `run` and `exec` share it. */

#include <mvm/instance.h>

#include "base/str.h"
#include "command.h"

struct guest_command {
	char *const *argv;
	const struct strv *env; /* may be NULL */
	const char *workdir, *user;
	bool input; /* pass standard input on */
	bool tty;
	int64_t timeout_ms; /* negative: none */
};

/*
 * Returns the command's status, 127 when the guest has no such program, 126 when it cannot be
 * executed (both with an error shown by the caller), or a negative errno with c->err filled.
 * c->failure_status is set for the failures.
 */
int guest_command_run(struct cli_context *c, struct mvm_instance *instance,
		      const struct guest_command *command);

/* A usage error unless every variable is NAME=VALUE: before a VM is started for it. */
int guest_env_check(struct cli_context *c, const struct strv *env);

/* Block the signals that end or resize a terminal program and give a signalfd(2) of them; resize
 * also when the window's size is wanted.  -1 when it cannot be had: they then act as usual. */
int guest_signals_block(bool resize);

#endif
