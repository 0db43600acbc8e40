/* SPDX-License-Identifier: Apache-2.0 */
#include "workload.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "cgroup.h"
#include "command.h"
#include "folders.h"
#include "init.h"
#include "mounts.h"
#include "net/agent.h"
#include "net/message.h"
#include "output.h"
#include "power.h"
#include "stream.h"

#define WORKLOAD_CGROUP "workload"
#define KILL_TIMEOUT_MS 10000
#define INIT_CGROUP	"init.scope" /* the group in which systemd expects itself */

extern char **environ;

static void on_workload_exit(void *arg, int status)
{
	struct agent *a = arg;
	char what[CHILD_STATUS_SIZE];

	a->workload = WORKLOAD_ENDED;
	a->workload_status = status;
	child_describe(status, what);
	agent_log("workload ended with %s", what);
	output_drain(a); /* before the host learns of the end */
	for (struct stream *s = a->streams, *next; s; s = next) {
		next = s->next;
		if (s->ops->workload_ended)
			s->ops->workload_ended(s);
	}
	power_workload_ended(a);
}

/*
 * Make the agent's streams 1 and 2 the workload's.  In a container the workload is PID 1, so images
 * and cron jobs write to /proc/1/fd/1.  The agent itself prints on 0 only.
 */
static void lend_streams(int output)
{
	for (int fd = 1; fd <= 2; fd++)
		dup2(output, fd); /* if this fails, their output goes to the console */
}

static int start_command(struct agent *a, struct mvm_error *err)
{
	char cgroup[COMMAND_CGROUP_SIZE] = WORKLOAD_CGROUP;
	AUTO_CLOSE int output = output_open(a);
	if (output < 0)
		return mvm_error_set(err, output, "cannot make a pipe: %s", strerror(-output));
	struct command cmd = {
		.args = &a->args,
		.workdir = a->workdir,
		.user = a->user,
		.fds = { -1, output, output },
	};
	int r = children_watch(&a->children, a->loop);
	if (r < 0)
		return mvm_error_set(err, r, "cannot watch children: %s", strerror(-r));
	r = command_start(a, &cmd, cgroup, on_workload_exit, a, &a->workload_child, err);
	if (r < 0)
		return r;
	a->workload = WORKLOAD_RUNS;
	if (a->argv0) /* argv0 is NULL in tests, which keep their streams */
		lend_streams(output);
	return 0;
}

/* The init that must become PID 1; borrowed. */
struct init {
	char *const *argv, *const *env;
	const char *workdir;
	const struct user *user;
};

/* PID 1 becomes the init.  Returns -errno, only when that fails. */
static int become_init(const struct agent *a, const struct init *i)
{
	int r = cgroup_join_self(a->cgroup_fd, INIT_CGROUP);
	if (r < 0)
		return r;
	AUTO_CLOSE int console = open("/dev/console", O_RDWR | O_NOCTTY | O_CLOEXEC);
	for (int fd = 0; fd < 3 && console >= 0; fd++) {
		if (dup2(console, fd) < 0)
			return -errno;
	}
	r = child_become_user(i->user);
	if (r < 0)
		return r;
	if (chdir(i->workdir) < 0)
		return -errno;
	child_reset_signals();
	return -child_exec(i->argv, i->env);
}

/* systemd spares processes whose argv[0] begins with '@' when it kills all others at shutdown
 * (systemd.io, "Storage daemons for the root file system"). */
static void mark_as_agent(struct agent *a)
{
	if (a->argv0)
		a->argv0[0] = '@';
	prctl(PR_SET_NAME, "mvm-agent"); /* only for people who read a list of processes */
}

/* Continue as the agent in the child, while PID 1 becomes the init. */
static int go_on_as_child(struct agent *a, const char *path, int report_fd, struct mvm_error *err)
{
	int code = 0;
	ssize_t n;

	if (setsid() < 0)
		return mvm_error_set(err, -errno, "cannot make a session: %s", strerror(errno));
	mark_as_agent(a);
	int r = children_watch(&a->children, a->loop);
	if (r < 0)
		return mvm_error_set(err, r, "cannot watch children: %s", strerror(-r));
	do
		n = read(report_fd, &code, sizeof(code)); /* ends when the init was executed */
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)sizeof(code))
		return mvm_error_set(err, code, "cannot execute '%s': %s", path, strerror(-code));
	a->workload = WORKLOAD_INIT;
	return 0;
}

static int run_init(struct agent *a, const struct init *init, struct mvm_error *err)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return mvm_error_set(err, -errno, "cannot make a pipe: %s", strerror(errno));
	AUTO_CLOSE int report_read = fds[0];
	AUTO_CLOSE int report_write = fds[1];

	pid_t pid = fork();
	if (pid < 0)
		return mvm_error_set(err, -errno, "cannot fork: %s", strerror(errno));
	if (pid == 0) {
		close(TAKE_FD(report_write)); /* PID 1's end must be the only one */
		return go_on_as_child(a, init->argv[0], report_read, err);
	}
	int code = become_init(a, init);
	(void)!write(report_write, &code, sizeof(code)); /* fails only if the agent has died */
	close(TAKE_FD(report_write));
	for (;;)
		pause(); /* PID 1 must not end; the agent reports and powers off */
}

/* Start the image's own init as the kernel would do. */
static int start_found_init(struct agent *a, const char *path, struct mvm_error *err)
{
	static const struct user root = { .home = "/root", .name = "root" };
	char *const argv[] = { (char *)path, NULL };
	AUTO_DONE(strv) env = { 0 };
	for (char **e = environ; *e; e++)
		strv_add(&env, *e);
	for (size_t i = 0; i < a->env.n; i++)
		strv_add(&env, a->env.v[i]);
	if (env.failed)
		return mvm_error_oom(err);
	const struct init init = { argv, env.v, "/", &root };
	return run_init(a, &init, err);
}

/* Start a command that is an init.  It becomes PID 1; otherwise it is like other commands. */
static int start_init_command(struct agent *a, const struct strv *args, struct mvm_error *err)
{
	struct user user;
	AUTO_DONE(strv) env = { 0 };
	int r = user_find(a->user, &user, err);
	if (r < 0)
		return r;
	if (command_env(&user, false, &a->env, NULL, &env) < 0)
		return mvm_error_oom(err);
	const struct init init = { args->v, env.v, a->workdir ? a->workdir : "/", &user };
	return run_init(a, &init, err);
}

int workload_prepare(const struct request *q, struct mvm_error *err)
{
	bool for_init = q->args.n ? init_is_command(&q->args) : init_find() != NULL;
	for_init = for_init && !q->no_workload;
	int r = mounts_run(for_init, err);
	if (r < 0)
		return r;
	if (q->args.n > 0 || !for_init) /* the image's own init does this itself */
		network_open_to_users();
	r = q->workdir ? folders_make(q->workdir) : 0;
	return r < 0 ? mvm_error_set(err, r, "cannot make the working folder '%s': %s", q->workdir,
				     strerror(-r))
		     : 0;
}

static int start_nothing(struct agent *a, const char *why, struct mvm_error *err)
{
	agent_log("nothing to start: %s", why);
	int r = children_watch(&a->children, a->loop);
	return r < 0 ? mvm_error_set(err, r, "cannot watch children: %s", strerror(-r)) : 0;
}

int workload_start(struct agent *a, struct mvm_error *err)
{
	const char *init;

	a->unstarted = false;
	if (a->no_workload)
		return start_nothing(a, "the host wants no workload", err);
	if (a->args.n > 0)
		return init_is_command(&a->args) ? start_init_command(a, &a->args, err)
						 : start_command(a, err);
	init = init_find();
	if (init)
		return start_found_init(a, init, err);
	return start_nothing(a, "the image has no command and no init", err);
}

int workload_kill(struct agent *a, struct mvm_error *err)
{
	int64_t deadline_ns = clock_deadline_ns(KILL_TIMEOUT_MS);
	child_forget(&a->children, &a->workload_child);
	a->workload = WORKLOAD_NONE;
	output_done(a);
	int r = cgroup_kill(a->cgroup_fd, WORKLOAD_CGROUP);
	if (r == 0)
		r = cgroup_wait_empty(a->cgroup_fd, WORKLOAD_CGROUP, deadline_ns);
	return r < 0 ? mvm_error_set(err, r, "cannot end the workload: %s", strerror(-r)) : 0;
}

int workload_signal(const struct agent *a, int signal)
{
	pid_t pid;
	if (a->workload == WORKLOAD_INIT)
		pid = 1;
	else if (a->workload == WORKLOAD_RUNS)
		pid = a->workload_child.pid;
	else
		return -ESRCH;
	return kill(pid, signal) < 0 ? -errno : 0;
}

/* ---- CALL_AWAIT: a stream that is answered when the workload ends ---- */

static void reply_ended(struct agent *a, uint32_t id)
{
	AUTO_DONE(strbuf) results = { 0 };
	message_put_end(&results, a->workload_status);
	stream_reply(a, id, 0, NULL, &results);
}

static void on_awaited(struct stream *s)
{
	reply_ended(s->agent, s->id);
	stream_close(s);
}

static void take_frame(struct stream *s, const struct frame *f)
{
	if (f->type != FRAME_RESET)
		return;
	stream_end_reset(s->agent, s->id);
	stream_close(s);
}

static void free_waiter(struct stream *s)
{
	free(s);
}

static const struct stream_ops await_ops = {
	.frame = take_frame,
	.workload_ended = on_awaited,
	.free = free_waiter,
};

void workload_await(struct agent *a, uint32_t id)
{
	if (a->workload == WORKLOAD_ENDED) {
		reply_ended(a, id);
		return;
	}
	if (a->workload != WORKLOAD_RUNS) {
		const char *why =
			"the guest runs no workload: its image has no command and no init";
		if (a->workload == WORKLOAD_INIT)
			why = "the guest runs an init, which ends only with its VM";
		else if (a->no_workload)
			why = "the guest runs no workload: it was started without";
		stream_reply(a, id, -EINVAL, why, NULL);
		return;
	}
	struct stream *s = calloc(1, sizeof(*s));
	if (s)
		stream_open(a, s, &await_ops, id);
	else
		stream_reply(a, id, -ENOMEM, "out of memory", NULL);
}
