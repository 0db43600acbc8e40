/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_CHILD_H
#define GUEST_CHILD_H

/*
 * Child processes of the agent: started in a session and a cgroup of their own, reaped on
 * SIGCHLD.  As PID 1 the agent also inherits and reaps everybody's orphans.
 *
 * A pid stays valid until its exit has been delivered, since only children_reap() waits for it.
 */

#include <stdbool.h>
#include <sys/types.h>

#include <mvm/error.h>

#include "base/loop.h"
#include "user.h"

typedef void (*child_exit_fn)(void *arg, int status); /* status as in wait(2) */

struct child {
	struct child *next;
	pid_t pid; /* 0: not running */
	child_exit_fn on_exit;
	void *arg;
};

struct children {
	struct child *list;
	int signal_fd;
	struct loop_source *source;
};

/* Block SIGCHLD and reap from the loop from now on.  Signals belong to a process, so a process
 * that forks calls this in the one that goes on. */
int children_watch(struct children *c, struct loop *loop);
void children_done(struct children *c);

/* Reap the children that have ended, as the loop does on SIGCHLD. */
void children_reap(struct children *c);

/* The work of a child that executes no program.  Returns its exit status. */
typedef int (*child_main_fn)(const void *arg);

struct spawn_spec {
	char *const *argv;  /* argv[0] names the child in errors in any case */
	child_main_fn main; /* NULL: execute argv */
	const void *main_arg;
	char *const *env;    /* its PATH is searched when argv[0] has no slash */
	const char *workdir; /* NULL: "/" */
	const struct user *user;
	int fds[3]; /* become 0, 1 and 2; stay the caller's */
	bool tty;   /* fds[0] becomes the controlling terminal */
	int cgroup; /* folder of the cgroup to start in, or -1 */
};

/*
 * Start a child.
 *
 *   ret  registered until on_exit is called or child_forget(); must not move meanwhile
 *
 * Returns 0 once the program runs; -ENOENT when the program or the working folder is missing; or
 * -errno (it cannot be executed).
 */
int child_spawn(struct children *c, const struct spawn_spec *spec, child_exit_fn fn, void *arg,
		struct child *ret, struct mvm_error *err);

/* Drop the callback.  The process runs on, and is reaped when it ends. */
void child_forget(struct children *c, struct child *child);

/* In a child before exec: default signal handling, nothing blocked. */
void child_reset_signals(void);

/* Give up root for this user, for good.  Returns 0 or -errno. */
int child_become_user(const struct user *u);

/* Execute argv, searched on the PATH of env when argv[0] has no slash.  Only returns when it
 * failed, with the most telling errno, positive. */
int child_exec(char *const *argv, char *const *env);

/* Describe a child's end for people: "exit status 3", "signal 9 (Killed)". */
#define CHILD_STATUS_SIZE 64
void child_describe(int status, char ret[CHILD_STATUS_SIZE]);

#endif
