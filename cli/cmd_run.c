/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <mvm/instance.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "env.h"
#include "follow.h"
#include "guest_command.h"
#include "handles.h"
#include "json.h"
#include "kernel_offer.h"
#include "lease.h"
#include "options.h"
#include "out.h"
#include "ports.h"
#include "rules.h"
#include "run_choose.h"
#include "run_limits.h"
#include "run_volumes.h"
#include "started.h"

#define STOP_MS 10000

/* Print the VM's output until the VM ends, the user presses ^C or nobody reads the output any more.
 * Returns the workload's status, or 128 and the signal. */
static int follow(struct cli_context *c, struct mvm *mvm, struct mvm_instance *instance,
		  bool volumes)
{
	const char *name = mvm_instance_name(instance);
	AUTO(mvm_instance_info) info = NULL;
	AUTO_DONE(follow) end = FOLLOW_NONE;
	follow_begin(&end);
	const int out_fd = STDOUT_FILENO;
	const struct mvm_logs_options logs = {
		.size = sizeof(logs),
		.follow = true,
		.cancel_fd = &end.cancel_fd,
		.out_fd = &out_fd,
		.visible = isatty(STDOUT_FILENO),
	};
	/* the volumes come back even if the output cannot be written */
	int shown = mvm_instance_logs(mvm, name, &logs, &c->err);
	struct mvm_error not_shown = c->err;
	int r = mvm_instance_inspect(mvm, name, &info, &c->err);
	if (r < 0)
		return r;
	if (info->state == MVM_INSTANCE_FAILED) {
		/* wait until the ended VM is removed */
		mvm_instance_finish(instance, 0, NULL, NULL);
		return cli_error(c, -EIO, "instance '%s' failed: %s", name, info->error);
	}
	bool ended = info->state == MVM_INSTANCE_EXITED;
	int ended_by = ended ? 0 : follow_ended_by(&end);
	/* After the workload's end the VM has copied its volumes back itself, or info->error says
	 * why not. */
	if (volumes && !ended)
		r = run_volumes_copy_back(c, mvm, name, end.signals);
	guest_signals_unblock(); /* a further signal ends the VM at once */
	/* The error about the volumes counts more. */
	int finished = mvm_instance_finish(instance, STOP_MS, NULL, r < 0 ? NULL : &c->err);
	if (r < 0 || finished < 0)
		return r < 0 ? r : finished;
	if (ended && info->error) /* its volumes did not come back */
		return cli_error(c, -EIO, "%s", info->error);
	if (shown == -EPIPE || ended_by == SIGPIPE)
		return output_gone(c);
	if (shown < 0) {
		c->err = not_shown;
		return shown;
	}
	if (!ended)
		return ended_by ? 128 + ended_by : 0;
	return info->exit_code > 0 ? info->exit_code : 0;
}

/* The command line's wishes. */
struct wanted {
	const char *template_ref;
	bool detach, with_command;
	uint32_t count;
	struct mvm_forward forwards[PORTS_MAX];
	size_t n_forwards;
	struct run_volumes volumes;
	struct strv env;
	enum mvm_restart restart;
	uint32_t restart_max;
	struct guest_command command;
};

static void wanted_done(struct wanted *w)
{
	run_volumes_done(&w->volumes);
	strv_done(&w->env);
}
DEFINE_AUTO_DONE(wanted, wanted_done)

/* Refuse options that do not go together. */
static int check_together(struct cli_context *c, const struct args *a, const struct wanted *w)
{
	static const char *const of_command[] = {
		"interactive", "tty", "workdir", "user", "timeout", NULL,
	};

	if (run_choose_check(c, a) < 0)
		return -EINVAL;
	if (w->detach && w->with_command)
		return cli_usage(c, "--detach and a command do not go together: start it with "
				    "--detach, then use 'mvm exec'");
	for (const char *const *name = of_command; *name && !w->with_command; name++) {
		if (args_given(a, *name))
			return cli_usage(c, "--%s is for a command, and there is none", *name);
	}
	if (args_flag(a, "cold") && args_flag(a, "require-snapshot"))
		return cli_usage(c, "--cold and --require-snapshot exclude each other");
	if (args_given(a, "network") &&
	    (args_given(a, "allow") || args_given(a, "deny") || args_given(a, "dns")))
		return cli_usage(c, "--network none leaves nothing to --allow, --deny or --dns");
	if (w->count > 1 && !w->detach)
		return cli_usage(c, "--count starts VMs that go on by themselves: add --detach");
	if (w->count > 1 && args_given(a, "hostname"))
		return cli_usage(c, "--hostname and --count do not go together: every VM has its "
				    "own name as host name");
	return 0;
}

static int check_labels(struct cli_context *c, const struct strv *labels)
{
	for (size_t i = 0; i < labels->n; i++) {
		if (mvm_label_check(labels->v[i], &c->err) == 0)
			continue;
		c->usage = true;
		return -EINVAL;
	}
	return 0;
}

static int read_wanted(struct cli_context *c, const struct args *a, struct wanted *ret)
{
	const struct strv *ports = args_list(a, "publish");

	if (args_given(a, "restart") && mvm_restart_parse(args_string(a, "restart"), &ret->restart,
							  &ret->restart_max, &c->err) < 0) {
		c->usage = true;
		return -EINVAL;
	}
	int r = env_collect(c, a, &ret->env);
	if (r >= 0)
		r = guest_command_parse(c, a, &ret->env, &ret->command);
	if (r >= 0)
		r = ports_parse(c, ports, ret->forwards);
	if (r >= 0)
		r = rules_check(c, a);
	if (r >= 0)
		r = name_servers_check(c, a);
	if (r >= 0)
		r = check_labels(c, args_list(a, "label"));
	if (r < 0)
		return r;
	ret->n_forwards = ports->n;
	for (size_t i = 0; i < ports->n; i++) {
		if (ret->count > 1 && ret->forwards[i].host_port != 0)
			return cli_usage(
				c,
				"with --count every VM needs a port of its own: let HOST be 0 "
				"in '%s'",
				ports->v[i]);
	}
	return run_volumes_parse(c, args_list(a, "volume"), ret->count, &ret->volumes);
}

static enum mvm_start_kind start_kind(const struct args *a)
{
	if (args_flag(a, "cold"))
		return MVM_START_COLD;
	return args_flag(a, "require-snapshot") ? MVM_START_REQUIRE_SNAPSHOT : MVM_START_AUTO;
}

static int start(struct cli_context *c, const struct args *a, struct mvm *mvm,
		 const struct wanted *w, struct started *ret)
{
	struct mvm_start_options options = {
		.size = sizeof(options),
		.template_ref = w->template_ref,
		.name = args_string(a, "name"),
		.attached = !w->detach,
		.held = w->detach,
		.kind = start_kind(a),
		.backend = args_string(a, "backend"),
		.vcpus = args_u32(a, "cpus", 0),
		.mem_mib = args_u32(a, "mem", 0),
		.root_disk_mib = args_u32(a, "root-disk", 0),
		.forwards = w->forwards,
		.n_forwards = w->n_forwards,
		.restart = w->restart,
		.restart_max = w->restart_max,
		.keep_running = args_flag(a, "keep-running"),
		.no_workload = args_flag(a, "no-workload"),
		.remove_at_end = args_flag(a, "rm"),
		.private_memory = args_flag(a, "private-memory"),
		.verify = args_flag(a, "verify"),
		.exec = w->with_command,
		.env = w->with_command ? NULL : (const char *const *)w->env.v,
		.hostname = args_string(a, "hostname"),
		.log_max_bytes = (uint64_t)args_u32(a, "log-size", 0) << 20,
		.volume_timeout_ms = args_ms(a, "volume-timeout", 0),
		.volumes = w->volumes.v,
		.n_volumes = w->volumes.n,
		.network_allow = (const char *const *)args_list(a, "allow")->v,
		.network_deny = (const char *const *)args_list(a, "deny")->v,
		.no_network = args_given(a, "network"), /* none is the only choice */
		.labels = (const char *const *)args_list(a, "label")->v,
		.network_dns = (const char *const *)args_list(a, "dns")->v,
	};

	int r = run_limits(c, a, &options);
	if (r == 0)
		r = started_begin(c, w->count, ret);
	if (r < 0)
		return r;
	r = mvm_instance_start_many(mvm, &options, w->count, &c->progress, ret->v, &c->err);
	return started_end(c, ret, r);
}

/* Run the command in the VM, copy its volumes back, and end the VM. */
static int run_command(struct cli_context *c, struct mvm *mvm, struct mvm_instance *instance,
		       struct wanted *w)
{
	AUTO_CLOSE int signals = guest_signals_block(w->command.tty);

	w->command.signal_fd = signals;
	int status = guest_command_run(c, instance, &w->command);
	int result = w->volumes.n > 0 ? run_volumes_end(c, mvm, instance, status, signals) : status;
	/* only the command's result counts: closing the handle or a signal ends the VM anyway */
	guest_signals_unblock();
	mvm_instance_finish(instance, 0, NULL, NULL);
	return status == -EPIPE && result == status ? output_gone(c) : result;
}

static int run(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO_FREE char *made = NULL;
	AUTO_DONE(started) started = STARTED_NONE;
	AUTO_DONE(wanted) w = {
		.detach = args_flag(a, "detach"),
		.with_command = a->n_rest > 0,
		.count = args_u32(a, "count", 1),
		.restart = MVM_RESTART_NO,
	};

	if (w.with_command)
		c->failure_status = 125;
	int r = check_together(c, a, &w);
	if (r >= 0)
		r = read_wanted(c, a, &w);
	if (r >= 0)
		r = lease_begin(c, a);
	if (r >= 0)
		r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r >= 0)
		r = run_choose(c, a, mvm, &w.template_ref, &made);
	if (r >= 0)
		r = start(c, a, mvm, &w, &started);
	if (r < 0)
		return r;
	if (w.detach)
		return started_hand_over(c, mvm, &started, args_given(a, "count"));
	output_guard(); /* a lost reader must not end us before the VM has ended in order */
	if (w.with_command)
		return run_command(c, mvm, started.v[0], &w);
	return follow(c, mvm, started.v[0], w.volumes.n > 0);
}

static const struct option options[] = {
	{ .name = "template",
	  .letter = 'T',
	  .kind = OPTION_STRING,
	  .value = "ID[@REV]",
	  .help = "the template to start; without REV its current revision. HOST/NAME:TAG is a "
		  "template in a registry, which is pulled if it is not here",
	  .hint = VALUE_RUNNABLE },
	{ .name = "lazy",
	  .kind = OPTION_CHOICE,
	  .value = "WHEN",
	  .choices = "auto|off",
	  .help = "auto: a template that is being pulled starts once the memory that a start "
		  "needs is here, if its snapshot may run here; off: once all of it is" },
	{ .name = "pull",
	  .kind = OPTION_FLAG,
	  .help = "ask the registry whether IMAGE has changed, and build it again if so" },
	OPTION_YES,
	{ .name = "name",
	  .letter = 'n',
	  .kind = OPTION_STRING,
	  .value = "NAME",
	  .help = "the instance's name (default: made from the template's)",
	  .hint = VALUE_NEW_INSTANCE },
	{ .name = "hostname",
	  .kind = OPTION_STRING,
	  .value = "NAME",
	  .help = "the guest's host name, instead of the instance's name",
	  .hint = VALUE_HOSTNAME },
	{ .name = "label",
	  .letter = 'l',
	  .kind = OPTION_LIST,
	  .value = "KEY[=VALUE]",
	  .help = "for 'mvm ps --filter label=KEY[=VALUE]'; inspect and events show it" },
	{ .name = "detach",
	  .letter = 'd',
	  .kind = OPTION_FLAG,
	  .help = "leave it running and print its name" },
	{ .name = "count",
	  .kind = OPTION_U32,
	  .value = "N",
	  .min = 1,
	  .max = MVM_START_MANY_MAX,
	  .help = "start N VMs, all or none; with --name they are NAME-1 to NAME-N" },
	{ .name = "publish",
	  .letter = 'p',
	  .kind = OPTION_LIST,
	  .value = "[ADDR:]HOST:GUEST",
	  .help = "forward port HOST of this host to port GUEST of the guest. ADDR is "
		  "127.0.0.1 by default; an IPv6 ADDR stands in brackets. HOST 0 "
		  "takes a free port. Add /udp for UDP" },
	{ .name = "volume",
	  .letter = 'v',
	  .kind = OPTION_LIST,
	  .value = "HOST:GUEST[:rw]",
	  .help = "copy a folder or file, a path that begins with / or ./, into the guest before "
		  "its workload starts; with :rw copy it back when the VM is stopped. A HOST "
		  "without a slash is a named volume, :rw unless :ro is added" },
	OPTION_JSON,
	GUEST_COMMAND_OPTIONS("Command"),
	{ .name = "cold",
	  .kind = OPTION_FLAG,
	  .help = "boot, even if there is a snapshot",
	  .group = "Start" },
	{ .name = "require-snapshot",
	  .kind = OPTION_FLAG,
	  .help = "fail instead of booting when the snapshot cannot be restored here",
	  .group = "Start" },
	{ .name = "no-workload",
	  .kind = OPTION_FLAG,
	  .help = "without the template's command and health check, to see what is wrong with "
		  "them; boots, unless snapshot.point is boot",
	  .group = "Start" },
	{ .name = "verify",
	  .kind = OPTION_FLAG,
	  .help = "first compare the digests of all files of the revision, not only "
		  "of those that look changed",
	  .group = "Start" },
	{ .name = "backend",
	  .kind = OPTION_CHOICE,
	  .value = "NAME",
	  .choices = BACKENDS,
	  .help = "the VMM to use, see 'mvm backends'",
	  .group = "Start" },
	{ .name = "cpus",
	  .kind = OPTION_U32,
	  .value = "N",
	  .min = 1,
	  .max = 32,
	  .help = "virtual CPUs; a number other than the snapshot's means a boot",
	  .group = "Machine" },
	{ .name = "mem",
	  .kind = OPTION_SIZE,
	  .value = "SIZE",
	  .min = 96,
	  .help = "memory; a size other than the snapshot's means a boot",
	  .group = "Machine" },
	{ .name = "root-disk",
	  .kind = OPTION_SIZE,
	  .value = "SIZE",
	  .min = MVM_ROOT_DISK_MIB_MIN,
	  .help = "a disk for the guest's root; a size other than the snapshot's means a boot",
	  .group = "Machine" },
	{ .name = "private-memory",
	  .kind = OPTION_FLAG,
	  .help = "copy the snapshot's memory instead of sharing its page cache with other clones, "
		  "a timing channel between them; slower, and never from a pool",
	  .group = "Machine" },
	{ .name = "network",
	  .kind = OPTION_CHOICE,
	  .value = "MODE",
	  .choices = "none",
	  .help = "none: the guest reaches nothing, whatever the template allows; ports of -p "
		  "still reach the guest",
	  .group = "Network" },
	RULES_OPTIONS,
	{ .name = "dns",
	  .kind = OPTION_LIST,
	  .value = "ADDRESS",
	  .help = "a name server for the guest, in place of the template's and this host's; up "
		  "to 4",
	  .group = "Network" },
	{ .name = "restart",
	  .kind = OPTION_CHOICE,
	  .value = "WHEN",
	  .choices = "no|on-failure|always|unless-stopped",
	  .open = true,
	  .help = "start it again when it has ended by itself, after a pause that "
		  "grows from a second to a minute: no (the default), on-failure[:N] "
		  "(the VM failed, or the workload's status is not 0; up to N times "
		  "in a row, default 10), always, or unless-stopped, which here means "
		  "the same as always",
	  .group = "Life" },
	{ .name = "keep-running",
	  .kind = OPTION_FLAG,
	  .help = "keep the VM when its workload has ended",
	  .group = "Life" },
	RUN_LIMITS_OPTIONS,
	OPTION_LEASE,
	{ .name = "volume-timeout",
	  .kind = OPTION_DURATION,
	  .value = "TIME",
	  .help = "time for copying volumes in, and back when the workload has ended "
		  "or the --ttl is over (0: the default, 5m); mvm names the volumes "
		  "that are not back by then, and they are lost",
	  .group = "Life" },
	{ .name = "rm",
	  .kind = OPTION_FLAG,
	  .help = "remove it when it has ended; without --detach this always happens",
	  .group = "Life" },
	{ .name = "log-size",
	  .kind = OPTION_SIZE,
	  .value = "SIZE",
	  .min = 1,
	  .max = 65536,
	  .help = "limit of each of its two logs (8M); mvm also keeps as much of the "
		  "output before that",
	  .group = "Life" },
	{ 0 },
};

const struct command command_run = {
	.path = "run",
	.summary = "Start a microVM from a template, or from an image in a registry",
	.details = "Restores the snapshot of the template's revision, in milliseconds, "
		   "if it was made on this host for this VMM and machine size; "
		   "otherwise boots and says why.\n\nIMAGE is docker://[HOST/]NAME[:TAG], or "
		   "the ID of a template. docker:// may be missing before a name with a tag "
		   "or a slash. The first time, mvm fetches the image, makes a template of "
		   "it ('debian-12') and a snapshot. Later runs start from that and ask no "
		   "registry without --pull. If the snapshot fails, a note says why, and runs boot "
		   "until 'mvm template snapshot ID' makes one.\n\nWith COMMAND: runs it in a "
		   "fresh VM beside "
		   "the template's workload, exits with its status and removes "
		   "it. " GUEST_COMMAND_INPUT
		   " Without COMMAND: prints the console until the VM ends, and exits with the "
		   "workload's status (or 128 + the signal that ended it; 1 if the VM failed). "
		   "When ^C or another signal comes, or nobody reads the output any more, the VM "
		   "is stopped and removed. The status is then 128 + the signal: 130 for ^C, 143 "
		   "for SIGTERM, 141 without a reader. A second ^C does not wait for the guest. "
		   "With --detach the VM goes on by itself; see 'mvm ps'. A signal during the "
		   "start cancels it: then nothing is left of the VM, and the name is free "
		   "again.\n\nSignals, and the keys that end a session with --tty, work as with "
		   "'mvm exec'. Without COMMAND, -e and --env-file set variables of the "
		   "template's own workload. The VM then boots, because a restored workload runs "
		   "already, unless the template's snapshot.point is boot.",
	.examples = "mvm run --template http-worker -d -p 8080:8080\n"
		    "mvm run --template http-worker -d --count 20 -p 0:8080\n"
		    "mvm run --template http-worker -- uname -a\n"
		    "mvm run --template http-worker -it -- sh\n"
		    "mvm run docker://debian:12 -- uname -a\n"
		    "mvm run --template http-worker --no-workload -it -- sh\n"
		    "echo hello | mvm run --template http-worker -i -- cat",
	.positionals = { { .name = "IMAGE",
			   .help = "an image in a registry, or a template",
			   .optional = true } },
	.rest = "COMMAND",
	.options = options,
	.run = run,
};
