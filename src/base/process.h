/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

/*
 * Child processes.  They get an argument vector, exactly the named descriptors and a pidfd.  No
 * child outlives the reason it was started for.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/own.h"

struct process {
	pid_t pid; /* 0 when there is none */
	int pidfd; /* readable once the child has ended; meaningless without a pid */
};

enum process_flags {
	PROCESS_DIE_WITH_PARENT = 1u << 0, /* SIGKILL when the starting thread ends (prctl(2)) */
	PROCESS_DETACH = 1u << 1, /* a session of its own; not our child, so nothing to reap */
	PROCESS_NO_HUGE_PAGES = 1u << 2, /* no transparent huge pages, madvised ones included */
};

struct process_spec {
	char *const *argv; /* argv[0] is the program's path, or a name searched on PATH */
	char *const *env;  /* NULL: the caller's environment */
	int cwd_fd;	   /* AT_FDCWD: stay */
	int stdin_fd, stdout_fd, stderr_fd; /* -1: /dev/null */
	const int *fds; /* further descriptors, which become 3, 4, ...; -1: leave a gap */
	size_t n_fds;
	unsigned flags;
	/* Called in the child before anything else.  Makes only system calls.  Returns 0 or the
	 * -errno that process_spawn() then fails with.  NULL: nothing to do. */
	int (*in_child)(void *arg);
	/* As in_child, but called last: signals and descriptors are in place, so it can give up the
	 * right to put them there.  It keeps the descriptor that is close-on-exec and above the
	 * named ones, by which a failure is reported. */
	int (*before_exec)(void *arg);
	void *in_child_arg; /* of both */
};

/*
 * Start a child.  Returns 0 once execve(2) has succeeded, or the -errno of the call that failed in
 * the child (-ENOENT: no such program).  *ret is empty with PROCESS_DETACH.  The child has the
 * default signal mask and dispositions.  The caller keeps its descriptors.
 */
int process_spawn(const struct process_spec *spec, struct process *ret);

/*
 * Fork a child that only makes system calls and ends by _exit(2).  It dies with the calling thread.
 * Returns 0 in both processes, with ret->pid 0 in the child; or -errno.
 */
int process_fork(struct process *ret);

/*
 * Wait for the end and reap.  Returns 0 with the wait status (wait(2)), -ETIMEDOUT (still
 * running, still owned) or -errno.
 */
int process_wait(struct process *p, int64_t deadline_ns, int *ret_status);

/* Kill if it still runs, reap, forget.  Cannot fail; an empty process is fine. */
void process_kill(struct process *p);
DEFINE_AUTO_DONE(process, process_kill)

/* The path of a program: argv[0] if it has a slash, else searched on PATH.  -ENOENT if none. */
int process_find(const char *name, char **ret_path);

#endif
