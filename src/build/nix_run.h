/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BUILD_NIX_RUN_H
#define BUILD_NIX_RUN_H

/*
 * Running the nix command: its result is kept in memory, what it says goes line by line to the
 * progress receiver and byte by byte to a log file, and the end of it stays for the error.
 */

#include <mvm/progress.h>
#include <stdbool.h>

#include "base/error.h"
#include "base/own.h"
#include "base/str.h"

#define NIX_OUTPUT_MAX ((size_t)16 << 20) /* of standard output */
#define NIX_ERRORS_MAX ((size_t)64 << 10) /* what is kept of standard error, at least */
#define NIX_LOG_MAX    ((size_t)64 << 20) /* what one run adds to the log file */

struct nix {
	char *program;			     /* absolute path */
	const struct mvm_progress *progress; /* may be NULL */
	int log_fd;			     /* -1: no log is kept */
	char *log_path;			     /* for messages; NULL without a log */
	bool fresh;  /* what Nix fetched before does not count: it would for an hour */
	int stop_fd; /* when it becomes readable, what runs is killed; -1: nothing does that */
};
#define NIX_NONE                                                                                   \
	{                                                                                          \
		.log_fd = -1, .stop_fd = -1                                                        \
	}

/* Find the nix command: on PATH, else where its installers put it.  nix_done() it.
 * -EOPNOTSUPP with what to install. */
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
 *   cwd_fd  where it runs; AT_FDCWD: here
 *   ret     what it printed; nix_result_done() it in every case
 *
 * Returns 1 when it succeeded, 0 when it failed (nix_explain() says why), -EFBIG (it printed more
 * than NIX_OUTPUT_MAX), -ECANCELED (stop_fd, or the progress' cancel_fd), or errno of starting it.
 * It gets no terminal, no input, and ends with us.
 */
int nix_run(const struct nix *n, const char *const *args, int cwd_fd, struct nix_result *ret,
	    struct mvm_error *err);

/* The same for any program, by its whole argument vector; both its streams count as what it says.
 */
int nix_run_program(const struct nix *n, char *const *argv, int cwd_fd, struct nix_result *ret,
		    struct mvm_error *err);

#endif
