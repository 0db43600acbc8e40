/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BUILD_NIX_RUN_H
#define BUILD_NIX_RUN_H

/*
 * Run the nix command.  Its standard output stays in memory.  Its messages go line by line to the
 * progress receiver and byte by byte to a log file; their end stays for the error.
 */

#include <mvm/progress.h>
#include <stdbool.h>

#include "base/error.h"
#include "base/own.h"
#include "base/str.h"

#define NIX_OUTPUT_MAX ((size_t)16 << 20) /* of standard output */
#define NIX_ERRORS_MAX ((size_t)64 << 10) /* kept of standard error, at least */
#define NIX_LOG_MAX    ((size_t)64 << 20) /* added to the log file by one run */

struct nix {
	char *program;			     /* absolute path */
	const struct mvm_progress *progress; /* may be NULL */
	int log_fd;			     /* -1: no log is kept */
	char *log_path;			     /* for messages; NULL without a log */
	bool fresh;  /* ignore earlier fetches, which Nix would reuse for an hour */
	int stop_fd; /* once readable, the running command is killed; -1: none */
};
#define NIX_NONE                                                                                   \
	{                                                                                          \
		.log_fd = -1, .stop_fd = -1                                                        \
	}

/* Find the nix command: on PATH, else where its installers put it.  nix_done() it.
 * -EOPNOTSUPP with a hint what to install. */
int nix_find(struct nix *ret, struct mvm_error *err);
void nix_done(struct nix *n);
DEFINE_AUTO_DONE(nix, nix_done)

struct nix_result {
	int status;	      /* wait(2) */
	struct strbuf out;    /* standard output */
	struct strbuf errors; /* the end of standard error */
};
void nix_result_done(struct nix_result *r);
DEFINE_AUTO_DONE(nix_result, nix_result_done)

/*
 * Run `nix <our options> ARGS...` to its end.
 *
 *   args    NULL-terminated, the subcommand first
 *   cwd_fd  its working folder; AT_FDCWD: the caller's
 *   ret     its output; nix_result_done() it in every case
 *
 * Returns 1 when it succeeded, 0 when it failed (nix_explain() says why), -EFBIG (it printed more
 * than NIX_OUTPUT_MAX), -ECANCELED (stop_fd, or the progress' cancel_fd), or errno of starting it.
 * The command gets no terminal and no input, and ends with mvm.
 */
int nix_run(const struct nix *n, const char *const *args, int cwd_fd, struct nix_result *ret,
	    struct mvm_error *err);

/* nix_run() for any program, by its whole argument vector.  Both its streams count as messages. */
int nix_run_program(const struct nix *n, char *const *argv, int cwd_fd, struct nix_result *ret,
		    struct mvm_error *err);

#endif
