/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdio.h>

#include "base/error.h"
#include "base/str.h"
#include "handles.h"
#include "instance_state.h"
#include "json.h"
#include "options.h"

/* {"name":..., "state":..., "exit_status":...}; an unknown value is null. */
static int print_result(const struct cli_context *c, const char *state, const char *name,
			const int *status)
{
	AUTO_DONE(jsonw) j = { 0 };

	if (!c->json) {
		if (state)
			puts(state); /* main looks at the stream's errors */
		return 0;
	}
	jsonw_open(&j, NULL, '{');
	jsonw_string(&j, "name", name);
	jsonw_string(&j, "state", state);
	if (status)
		jsonw_u64(&j, "exit_status", (uint64_t)*status);
	else
		jsonw_string(&j, "exit_status", NULL);
	jsonw_close(&j);
	return jsonw_print(&j, stdout);
}

/* The command's exit status: a failure to print comes first, an unknown status (-1) is success. */
static int exit_status(int printed, int status)
{
	if (printed < 0)
		return printed;
	return status > 0 ? status : 0;
}

/*
 * Print how the instance ended.  Returns its exit status, or an error when it failed.
 *
 *   status  of an instance that was removed at its end; -1: unknown
 */
static int report(struct cli_context *c, struct mvm *mvm, const char *name, int status)
{
	AUTO(mvm_instance_info) info = NULL;
	char state[INSTANCE_STATE_SIZE];
	int r = mvm_instance_inspect(mvm, name, &info, &c->err);
	if (r == -ENOENT) { /* the instance was removed at its end */
		r = 0;
		if (c->json)
			r = print_result(c, NULL, name, status < 0 ? NULL : &status);
		return exit_status(r, status);
	}
	if (r < 0)
		return r;
	if (info->state == MVM_INSTANCE_FAILED)
		return cli_error(c, -EIO, "instance '%s' failed: %s", name,
				 info->error ? info->error : "the reason is unknown");
	if (info->state == MVM_INSTANCE_SUSPENDED) {
		r = cli_error(c, -EBUSY, "instance '%s' has been suspended", name);
		return mvm_error_reason(&c->err, r, "instance-suspended", name);
	}
	instance_state_text(info, state);
	status = info->exit_code;
	r = print_result(c, c->json ? mvm_instance_state_name(info->state) : state, name,
			 status < 0 ? NULL : &status);
	return exit_status(r, status);
}

/* Returns 1, 0 while the instance may still run, or an error without such an instance. */
static int has_ended(struct mvm *mvm, const char *name, struct mvm_error *err)
{
	AUTO(mvm_instance_info) info = NULL;
	int r = mvm_instance_inspect(mvm, name, &info, err);
	if (r < 0)
		return r;
	assert(info);
	return info->state == MVM_INSTANCE_EXITED || info->state == MVM_INSTANCE_FAILED;
}

/* Wait for the template's command.  Its status becomes ours, as with exec. */
static int wait_for_workload(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO(mvm_instance) instance = NULL;
	const struct mvm_wait_options options = {
		.size = sizeof(options),
		.timeout_ms = args_limit_ms(a, "timeout"),
	};
	int status = 0;

	c->failure_status = 125;
	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_instance_open(mvm, args_at(a, 0), &instance, &c->err);
	if (r == 0)
		r = mvm_instance_wait_workload(instance, &options, &status, &c->err);
	if (r == -ETIMEDOUT) {
		c->failure_status = 0; /* 4, as without --workload */
		return cli_error(c, -EBUSY, "the workload of '%s' still runs", args_at(a, 0));
	}
	AUTO(mvm_instance_info) info = NULL;
	if (r < 0 && mvm && mvm_instance_inspect(mvm, args_at(a, 0), &info, NULL) == 0 &&
	    info->workload_ended) { /* the VM may have ended with it */
		status = info->exit_code;
		r = 0;
	}
	if (r == 0 && c->json)
		r = print_result(c, NULL, args_at(a, 0), &status);
	return r < 0 ? r : status;
}

static int run(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO(mvm_instance) instance = NULL;
	const char *name = args_at(a, 0);
	const struct mvm_wait_options options = {
		.size = sizeof(options),
		.timeout_ms = args_limit_ms(a, "timeout"),
	};
	int status = -1;

	if (args_flag(a, "workload"))
		return wait_for_workload(c, a);
	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_instance_open(mvm, name, &instance, &c->err);
	if (r == -ENOENT) /* also when it has another name now, and goes on */
		return r;
	if (r < 0 && mvm && has_ended(mvm, name, NULL) != 0)
		return report(c, mvm, name, status);
	if (r == 0)
		r = mvm_instance_wait(instance, &options, &status, &c->err);
	if (r == -ETIMEDOUT)
		return cli_error(c, -EBUSY, "instance '%s' still runs", name);
	AUTO(mvm_instance) gone = NULL;
	/* its supervisor hung up without an answer: wait until all of it is gone, or it would seem
	 * to run */
	if (r == 0 && status < 0 && has_ended(mvm, name, NULL) == 0)
		mvm_instance_open(mvm, name, &gone, NULL); /* report() tells how it is then */
	return r < 0 ? r : report(c, mvm, name, status);
}

static const struct option options[] = {
	{ .name = "workload",
	  .letter = 'w',
	  .kind = OPTION_FLAG,
	  .help = "wait for the template's command instead, and exit with its status "
		  "(or 128 + the signal that ended it; 4 after the timeout; 125 if "
		  "there is no command)" },
	{ .name = "timeout",
	  .letter = 't',
	  .kind = OPTION_DURATION,
	  .value = "TIME",
	  .help = "wait no longer than this; 0: do not wait" },
	OPTION_JSON,
	{ 0 },
};

const struct command command_wait = {
	.path = "wait",
	.summary = "Wait until an instance has ended",
	.details = "Prints how the instance ended, such as 'exited (3)', and exits "
		   "with its status: its workload's status, 128 + the signal that "
		   "ended the workload, or 0 if the guest ended by itself. Otherwise "
		   "prints a message, and exits with 1 if the VM failed, 3 if there is "
		   "no such instance, and 4 if it still runs after the timeout. An "
		   "instance with --restart has ended when it is not started again.",
	.positionals = { { .name = "NAME", .help = "the instance", .hint = VALUE_INSTANCE } },
	.options = options,
	.examples = "mvm wait web --timeout 5m\n"
		    "mvm wait web --workload",
	.run = run,
};
