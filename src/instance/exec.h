/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_EXEC_H
#define INSTANCE_EXEC_H

/* A command in a guest, in the caller's event loop: mvm_exec of mvm/stream.h, over flow.h. */

#include <mvm/stream.h>

#include "instance/instance.h"

/*
 * Start a command over a connection; see mvm_exec_start().
 *
 *   instance  taken over, also when it fails
 */
int exec_start(struct mvm_instance *instance, const struct mvm_exec_start_options *options,
	       struct mvm_exec **ret, struct mvm_error *err);

/*
 * Make a call whose stream is read and written as that of a command.
 *
 *   instance  taken over, also when it fails
 *   input     the caller will write
 */
int exec_stream(struct mvm_instance *instance, unsigned call, const struct strbuf *args, bool input,
		struct mvm_exec **ret, struct mvm_error *err);

/* Add the fields of a CALL_EXEC that session.c and exec.c share; lists may be NULL.
 * A workdir or user that is NULL or "" is the workload's. */
void exec_put_command(struct strbuf *args, const char *const *command, const char *const *env,
		      const char *workdir, const char *user);

#endif
