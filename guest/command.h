/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_COMMAND_H
#define GUEST_COMMAND_H

/* Start commands for the host: calls, health checks, on_restore and the workload.  Each gets a
 * user, an environment, a cgroup of its own.  Health checks and on_restore get the workload's user
 * and working folder, as commands of exec do that name none. */

#include <mvm/error.h>

#include "agent.h"
#include "user.h"

#define COMMAND_CGROUP_SIZE 32

struct command {
	const struct strv *args; /* at least one */
	child_main_fn main;	 /* runs in place of a program; NULL: execute args */
	const void *main_arg;
	const struct strv *env; /* on top of the workload's; may be NULL */
	const char *workdir;	/* NULL: "/" */
	const char *user;	/* NULL: root */
	int fds[3];		/* -1: /dev/null */
	bool tty;
};

/*
 * Start a command.
 *
 *   cgroup   the name of its group; "" to get a new "exec-<n>", whose name is put there
 *   fn, arg  called when it ends
 *   ret      see child_spawn()
 *
 * Returns 0, -ENOENT (no such program), -EINVAL (no such user) or -errno.
 */
int command_start(struct agent *a, const struct command *cmd, char cgroup[COMMAND_CGROUP_SIZE],
		  child_exit_fn fn, void *arg, struct child *ret, struct mvm_error *err);

/* Kill a command and everything that it started. */
void command_kill(struct agent *a, const char *cgroup, const struct child *child);

/* Remove the groups of commands that have ended, and make the next command's group in advance,
 * which takes a tenth of a fresh clone's first command. */
void command_sweep(struct agent *a);

/* Remove the group that was made in advance.  Call this before all groups are frozen, since a
 * command in a frozen group does not run. */
void command_drop_spare(struct agent *a);

/* The environment: PATH, HOME, USER, TERM on a terminal, then base, then more; of a name that
 * repeats the last one counts. */
int command_env(const struct user *user, bool tty, const struct strv *base, const struct strv *more,
		struct strv *ret);

#endif
