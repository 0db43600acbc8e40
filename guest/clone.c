/* SPDX-License-Identifier: Apache-2.0 */
#include "clone.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "command.h"
#include "disks.h"
#include "freeze.h"
#include "identity.h"
#include "net/agent.h"
#include "net/wire.h"
#include "rehearse.h"
#include "sever.h"
#include "stream.h"
#include "warm.h"
#include "workload.h"

/* since_ns: when the guest's processes were frozen; 0: it does not matter */
static void reply_since(struct agent *a, uint32_t id, int64_t since_ns)
{
	AUTO_DONE(strbuf) results = { 0 };
	wire_put_bytes(&results, FIELD_NONCE, a->nonce, sizeof(a->nonce));
	if (since_ns)
		wire_put_u64(&results, FIELD_TIME_NS, (uint64_t)(clock_now_ns() - since_ns));
	if (a->held)
		wire_put_u64(&results, FIELD_HOLD, 1);
	if (a->no_workload)
		wire_put_u64(&results, FIELD_NO_WORKLOAD, 1);
	stream_reply(a, id, 0, NULL, &results);
}

static void reply_nonce(struct agent *a, uint32_t id)
{
	reply_since(a, id, 0);
}

static int refuse_ended(struct agent *a, struct mvm_error *err)
{
	char what[CHILD_STATUS_SIZE];
	children_reap(&a->children);
	if (a->workload != WORKLOAD_ENDED)
		return 0;
	child_describe(a->workload_status, what);
	if (a->frozen) {
		thaw_guest(a, NULL); /* a failure does not matter: the host discards this guest */
		freeze_come_first(false);
	}
	return mvm_error_set(err, -ESRCH,
			     "the workload has ended with %s, so every clone would end immediately",
			     what);
}

/* May the guest be frozen?  Else it has been answered. */
static bool may_freeze(struct agent *a, uint32_t id)
{
	if (a->frozen) {
		stream_reply(a, id, -EALREADY, "the guest is prepared already", NULL);
		return false;
	}
	if (a->n_streams > 0) {
		/* in a clone the other ends of these streams would not exist */
		stream_reply(a, id, -EBUSY, "the agent is still answering other calls", NULL);
		return false;
	}
	return true;
}

static void answer_frozen(struct agent *a, uint32_t id, int64_t since_ns)
{
	random_bytes(a->nonce, sizeof(a->nonce));
	a->prepared = true;
	reply_since(a, id, since_ns);
}

void clone_freeze(struct agent *a, uint32_t id, const struct request *q)
{
	struct mvm_error err = { 0 };
	if (!may_freeze(a, id))
		return;
	int64_t since_ns = 0;
	int r = freeze_only(a, &since_ns, &err);
	if (r == 0 && q->sync)
		sync();
	if (r < 0)
		stream_reply(a, id, r, err.text, NULL);
	else
		answer_frozen(a, id, since_ns);
}

/* Bring a guest that was away up to date, before any of its processes runs. */
static int catch_up(struct agent *a, const struct request *q, struct mvm_error *err)
{
	int r = 0;
	if (!a->frozen)
		return 0;
	if (q->entropy_len > 0)
		r = identity_add_entropy(a->slots.random_fd, q->entropy, q->entropy_len, err);
	if (r == 0 && q->time_ns > 0)
		r = identity_set_clock(q->time_ns, err);
	if (r == 0 && q->sever)
		connections_sever(&a->connections);
	return r;
}

void clone_thaw(struct agent *a, uint32_t id, const struct request *q)
{
	struct mvm_error err = { 0 };
	int r = catch_up(a, q, &err);
	if (r == 0)
		r = thaw_guest(a, &err);
	freeze_come_first(false);
	connections_done(&a->connections); /* they are the programs' again */
	if (r < 0)
		stream_reply(a, id, r, err.text, NULL);
	else
		reply_nonce(a, id);
}

/* The commands are done, and what they needed is in the caches. */
static void finish_prepare(struct agent *a, uint32_t id)
{
	freeze_finish(a, a->zero_bytes);
	answer_frozen(a, id, 0);
}

void clone_prepare(struct agent *a, uint32_t id, const struct request *q)
{
	struct mvm_error err = { 0 };
	if (!may_freeze(a, id))
		return;
	int r = refuse_ended(a, &err);
	if (r == 0 && a->restore_restart && a->workload == WORKLOAD_INIT)
		r = mvm_error_set(&err, -EINVAL,
				  "on_restore: the image's own init runs as PID 1, which cannot be "
				  "restarted: use snapshot.point = \"boot\"");
	if (r == 0)
		r = freeze_guest(a, &err);
	if (r == 0)
		r = refuse_ended(a, &err); /* it may have ended just before the freeze */
	if (r < 0) {
		stream_reply(a, id, r, err.text, NULL);
		return;
	}
	a->zero_bytes = q->memory_bytes;
	rehearse_commands(a, id, finish_prepare);
}

/* on_restore: a command; the call's reply waits for its end ------------------------------------ */

struct on_restore {
	struct stream stream;
	struct child child;
	char cgroup[COMMAND_CGROUP_SIZE];
};

static void free_on_restore(struct stream *s)
{
	struct on_restore *o = (struct on_restore *)s;
	if (o->child.pid > 0) {
		command_kill(s->agent, o->cgroup, &o->child);
		child_forget(&s->agent->children, &o->child);
	}
	free(o);
}

static void take_frame(struct stream *s, const struct frame *f)
{
	if (f->type != FRAME_RESET)
		return;
	stream_end_reset(s->agent, s->id);
	stream_close(s);
}

static const struct stream_ops on_restore_ops = {
	.frame = take_frame,
	.free = free_on_restore,
};

static void on_restore_exit(void *arg, int status)
{
	struct on_restore *o = arg;
	struct agent *a = o->stream.agent;
	char what[CHILD_STATUS_SIZE], message[128];

	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		reply_nonce(a, o->stream.id);
	} else {
		child_describe(status, what);
		snprintf(message, sizeof(message), "on_restore ended with %s", what);
		stream_reply(a, o->stream.id, -EIO, message, NULL);
	}
	stream_close(&o->stream);
	command_sweep(a);
}

static void run_on_restore(struct agent *a, uint32_t id)
{
	struct mvm_error err = { 0 };
	struct on_restore *o = calloc(1, sizeof(*o));
	if (!o) {
		stream_reply(a, id, -ENOMEM, "out of memory", NULL);
		return;
	}
	stream_open(a, &o->stream, &on_restore_ops, id);
	/* open the console again: the agent's is non-blocking, a command's should block */
	AUTO_CLOSE int console = open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);
	struct command cmd = {
		.args = &a->on_restore,
		.workdir = a->workdir,
		.user = a->user,
		.fds = { -1, console, console },
	};
	int r = command_start(a, &cmd, o->cgroup, on_restore_exit, o, &o->child, &err);
	if (r < 0) {
		mvm_error_context(&err, r, "on_restore");
		stream_reply(a, id, r, err.text, NULL);
		stream_close(&o->stream);
	}
}

static int become_another(struct agent *a, const struct request *q, struct mvm_error *err)
{
	if (!a->prepared || !a->frozen)
		return mvm_error_set(err, -EBUSY, "the guest was not prepared for a snapshot");
	int r = slots_apply(&a->slots, q, err);
	if (r == 0)
		r = network_configure(&a->network, q->address, q->gateway, q->dns, err);
	if (r == 0)
		connections_sever(&a->connections);
	return r;
}

void clone_rehearse(struct agent *a, uint32_t id, const struct request *q)
{
	struct mvm_error err = { 0 };
	int r = become_another(a, q, &err);
	if (r == 0)
		r = slots_stay_frozen(&a->slots);
	if (r < 0)
		stream_reply(a, id, r, err.text[0] ? err.text : "cannot rehearse", NULL);
	else {
		warm_disk(a);
		rehearse_commands(a, id, reply_nonce);
	}
}

void clone_restored(struct agent *a, uint32_t id, struct request *q)
{
	struct mvm_error err = { 0 };
	int r = become_another(a, q, &err);
	disks_forget_volumes(a->upper_fd);
	a->held = r == 0 && q->hold;
	a->no_workload = q->no_workload;
	if (q->env.n > 0) {
		strv_done(&a->env);
		a->env = q->env;
		q->env = (struct strv){ 0 };
	}
	if (r == 0 && !a->held) {
		clone_let_go(a, id);
		return;
	}
	if (r < 0)
		stream_reply(a, id, r, err.text, NULL);
	else
		reply_nonce(a, id);
	freeze_come_first(false);
}

/* Continue or restart the workload in a clone.  To restart, kill it before the thaw: none of its
 * instructions may run, since it knows the secrets of the other clones' workloads. */
static int let_workload_go(struct agent *a, struct mvm_error *err)
{
	int r = a->restore_restart && a->workload == WORKLOAD_RUNS ? workload_kill(a, err) : 0;
	if (r == 0)
		r = thaw_guest(a, err);
	freeze_come_first(false); /* before starting children */
	if (r < 0)
		return r;
	if (a->unstarted || a->restore_restart)
		return workload_start(a, err);
	r = a->restore_signal ? workload_signal(a, a->restore_signal) : 0;
	return r < 0 ? mvm_error_set(err, r, "on_restore: cannot signal the workload: %s",
				     strerror(-r))
		     : 0;
}

void clone_let_go(struct agent *a, uint32_t id)
{
	struct mvm_error err = { 0 };
	bool workload = a->unstarted || a->restore_restart || a->restore_signal;
	int r = workload ? let_workload_go(a, &err) : thaw_guest(a, &err);
	if (r < 0)
		stream_reply(a, id, r, err.text, NULL);
	else if (a->on_restore.n > 0 && !workload)
		run_on_restore(a, id);
	else
		reply_nonce(a, id);
	freeze_come_first(false);
}
