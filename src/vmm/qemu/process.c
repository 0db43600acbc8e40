/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/sock.h"
#include "vmm/memory.h"
#include "vmm/qemu/qemu.h"

/* Its socket closes a moment before it has ended, and the moment is long where many work. */
#define LAST_WORDS_MS 10000

static struct qemu *qemu_of(struct vmm *v)
{
	return (struct qemu *)v;
}

static void on_exit_fd(void *arg, uint32_t events)
{
	(void)events;
	struct qemu *q = arg;
	int status = 0;
	if (process_wait(&q->vmm.process, 0, &status) < 0)
		return; /* not yet */
	loop_source_free(TAKE_PTR(q->exit_source));
	words_read(&q->words);
	qmp_process(q->qmp); /* its last events tell why it ended */
	q->vmm.exit_status = status;
	q->vmm.state = VMM_ENDED;
	if (q->vmm.on_ended)
		q->vmm.on_ended(q->vmm.on_ended_arg, status); /* last: it may be the end of q */
}

static void on_event(void *arg, const char *name, json_t *data)
{
	struct qemu *q = arg;
	if (str_eq(name, "MIGRATION")) {
		const char *status = json_string_value(json_object_get(data, "status"));
		if (str_eq(status, "completed"))
			q->migration = MIGRATION_COMPLETED;
		else if (str_eq(status, "failed") || str_eq(status, "cancelled"))
			q->migration = MIGRATION_FAILED;
		if (q->migration == MIGRATION_COMPLETED && q->vmm.loaded_ns == 0)
			q->vmm.loaded_ns = clock_now_ns();
	} else if (str_eq(name, "RESUME")) {
		q->vmm.resumed_ns = clock_now_ns();
		if (q->vmm.loaded_ns == 0) /* a load that goes on to run says so afterwards */
			q->vmm.loaded_ns = q->vmm.resumed_ns;
	} else if (str_eq(name, "SHUTDOWN")) {
		const char *reason = json_string_value(json_object_get(data, "reason"));
		q->vmm.guest_stopped = json_is_true(json_object_get(data, "guest"));
		q->vmm.guest_reset = str_eq(reason, "guest-reset");
	}
}

int qemu_explain(struct qemu *q, int r, int64_t deadline_ns, struct mvm_error *err)
{
	if (r >= 0 || (!qmp_is_dead(q->qmp) && q->vmm.state != VMM_ENDED))
		return r;
	int64_t patience = clock_deadline_ns(LAST_WORDS_MS);
	if (deadline_ns < patience)
		patience = deadline_ns;
	while (q->vmm.state != VMM_ENDED && clock_now_ns() < patience) {
		if (loop_run_once(q->loop, patience) < 0)
			break;
	}
	if (q->vmm.state != VMM_ENDED)
		return r;

	return words_explain(&q->words, "QEMU", QEMU_BINARY ": ", q->vmm.exit_status, err);
}

static void qemu_free(struct vmm *v)
{
	struct qemu *q = qemu_of(v);
	if (!q)
		return;
	loop_source_free(q->exit_source);
	process_kill(&q->vmm.process);
	words_read(&q->words); /* the log shall have all of it */
	words_done(&q->words);
	lend_done(&q->memory);
	net_helper_done(&q->net);
	qemu_files_done(&q->files);
	qemu_child_done(&q->child);
	qmp_free(q->qmp);
	free(q->vmm.name);
	free(q);
}

static void free_qemu(struct qemu *q)
{
	qemu_free(q ? &q->vmm : NULL);
}
DEFINE_AUTO(qemu, free_qemu)

/* A clone needs no right to write the memory that it shares with others.  Where it cannot be lent
 * QEMU opens it itself, and maps it just as privately. */
static int lend_memory(struct qemu *q, const struct vmm_config *c, struct mvm_error *err)
{
	char path[LEND_PATH_MAX];
	snprintf(path, sizeof(path), QEMU_FD_PATH, QEMU_FD_MEMORY);
	int r = lend_open(&q->memory, c->memory_dir_fd, c->memory_name, path);
	q->child.memory = &q->memory;
	return r < 0 ? mvm_error_set(err, r, "cannot open '%s': %s", c->memory_name, strerror(-r))
		     : 0;
}

static int start_failed(const struct qemu *q, const char *binary, int r, struct mvm_error *err)
{
	bool alone = r == -EACCES && q->child.user.fd >= 0;
	return mvm_error_set(err, r, "cannot start '%s': %s%s", binary, strerror(-r),
			     alone ? "; run by root it is a user of its own, so put it where "
				     "everybody may execute it"
				   : "");
}

/* Start it and keep our ends: of the control channel, its words and its process. */
static int spawn_process(struct qemu *q, const struct vmm_config *c, const struct strv *args,
			 int qmp_fd, int net_fd, struct mvm_error *err)
{
	int to = -1;
	int r = words_open(&q->words, c->log_fd, &to);
	if (r < 0)
		return mvm_error_set(err, r, "cannot make a pipe: %s", strerror(-r));
	AUTO_CLOSE int words_to = to;
	int fds[QEMU_FD_END - QEMU_FD_QMP] = { qmp_fd, c->agent_fd, c->console_fd, net_fd };
	for (int i = QEMU_FD_MEMORY; i < QEMU_FD_END; i++)
		fds[i - QEMU_FD_QMP] = q->files.fds[i];
	const struct process_spec spec = {
		.argv = args->v,
		.cwd_fd = AT_FDCWD,
		.stdin_fd = -1,
		.stdout_fd = words_to,
		.stderr_fd = words_to,
		.fds = fds,
		.n_fds = MVM_ARRAY_SIZE(fds),
		/* QEMU asks for huge pages for its code buffer; a clone's share of memory is a
		 * fifth less without them */
		.flags = PROCESS_DIE_WITH_PARENT |
			 (c->memory == VMM_MEMORY_CLONE ? PROCESS_NO_HUGE_PAGES : 0),
	};
	r = qemu_child_spawn(&q->child, &spec, &q->vmm.process);
	q->vmm.isolation = q->child.isolation;
	return r < 0 ? start_failed(q, args->v[0], r, err) : 0;
}

static int start_process(struct qemu *q, const struct vmm_config *c, const struct strv *args,
			 struct mvm_error *err)
{
	int pair[2];
	int r = sock_pair(pair);
	if (r < 0)
		return mvm_error_set(err, r, "cannot make a socket: %s", strerror(-r));
	AUTO_CLOSE int ours = pair[0];
	AUTO_CLOSE int theirs = pair[1];
	AUTO_CLOSE int net = -1;
	if (c->network)
		r = net_helper_start(&q->net, c, q->child.user.fd >= 0, q->loop, &net, err);
	if (r == 0)
		r = spawn_process(q, c, args, theirs, net, err);
	if (r < 0)
		return r;
	r = qmp_new(q->loop, ours, on_event, q, &q->qmp);
	if (r == 0)
		(void)TAKE_FD(ours);
	if (r == 0)
		r = loop_add_fd(q->loop, q->vmm.process.pidfd, EPOLLIN, on_exit_fd, q,
				&q->exit_source);
	if (r == 0)
		r = words_watch(&q->words, q->loop);
	if (r == 0 && q->child.memory)
		r = lend_watch(&q->memory, q->loop);
	return r < 0 ? mvm_error_set(err, r, "cannot watch QEMU: %s", strerror(-r)) : 0;
}

static int start_and_greet(struct qemu *q, const struct vmm_probe *probe,
			   const struct vmm_config *c, int64_t deadline_ns, struct mvm_error *err)
{
	AUTO_DONE(strv) args = { 0 };
	int r = qemu_args(probe, c, &args, err);
	if (r == 0)
		r = qemu_child_init(&q->child, probe, c, err);
	if (r == 0)
		r = qemu_files_open(&q->files, c, &q->child.user, err);
	if (r == 0 && c->memory == VMM_MEMORY_CLONE)
		r = lend_memory(q, c, err);
	if (r == 0)
		r = start_process(q, c, &args, err);
	if (r < 0)
		return r;
	/* QEMU agrees to capabilities only when the whole machine has been made */
	r = qmp_wait_ready(q->qmp, deadline_ns, err);
	if (r < 0)
		return qemu_explain(q, r, deadline_ns, err);
	r = c->network ? net_helper_ready(&q->net, deadline_ns, err) : 0;
	if (r < 0)
		return r;
	/* it has all that it needs, and the guest has not run yet */
	if (q->vmm.isolation & VMM_ISOLATION_NAMESPACES) {
		r = box_seal(&q->child.box);
		if (r < 0)
			return mvm_error_set(err, r, "cannot take the host's files from QEMU: %s",
					     strerror(-r));
	}
	q->vmm.spawned_ns = clock_now_ns();
	return 0;
}

static int qemu_spawn(const struct vmm_probe *probe, const struct vmm_config *c, struct loop *loop,
		      int64_t deadline_ns, struct vmm **ret, struct mvm_error *err)
{
	AUTO(qemu) q = calloc(1, sizeof(*q));
	if (!q)
		return mvm_error_oom(err);
	q->words = (struct words)WORDS_NONE;
	q->child.user = (struct own_uid)OWN_UID_NONE;
	q->child.box = (struct box)BOX_NONE;
	qemu_files_init(&q->files);
	q->memory = (struct lend)LEND_NONE;
	q->net = (struct net_helper)NET_HELPER_NONE;
	q->loop = loop;
	q->vmm.ops = &vmm_qemu;
	q->vmm.memory = c->memory;
	q->vmm.name = strdup(c->name);
	if (!q->vmm.name)
		return mvm_error_oom(err);
	int r = c->memory == VMM_MEMORY_CAPTURE ? vmm_memory_make(c, err) : 0;
	if (r < 0)
		return r;
	r = start_and_greet(q, probe, c, deadline_ns, err);
	if (r < 0) {
		if (c->memory == VMM_MEMORY_CAPTURE)
			unlinkat(c->memory_dir_fd, c->memory_name, 0); /* best effort */
		return r;
	}
	*ret = &TAKE_PTR(q)->vmm;
	return 0;
}

static int simple_call(struct vmm *v, const char *command, int64_t deadline_ns,
		       struct mvm_error *err)
{
	struct qemu *q = qemu_of(v);
	int r = qmp_call(q->qmp, command, NULL, -1, deadline_ns, NULL, err);
	return qemu_explain(q, r, deadline_ns, err);
}

/* The reply comes when the CPUs run, or stand. */
static int qemu_cont(struct vmm *v, int64_t deadline_ns, struct mvm_error *err)
{
	return simple_call(v, "cont", deadline_ns, err);
}

static int qemu_stop(struct vmm *v, int64_t deadline_ns, struct mvm_error *err)
{
	return simple_call(v, "stop", deadline_ns, err);
}

/* An ACPI event; the guest needs a driver for its button, and somebody who listens to that. */
static int qemu_power_button(struct vmm *v, int64_t deadline_ns, struct mvm_error *err)
{
	return simple_call(v, "system_powerdown", deadline_ns, err);
}

static int qemu_forward(struct vmm *v, const struct vmm_forward *f, int64_t deadline_ns,
			struct mvm_error *err)
{
	return net_helper_forward(&qemu_of(v)->net, f, deadline_ns, err);
}

static int qemu_network_rules(struct vmm *v, const struct vmm_network *rules, int64_t deadline_ns,
			      struct mvm_error *err)
{
	return net_helper_policy(&qemu_of(v)->net, rules, deadline_ns, err);
}

const struct vmm_ops vmm_qemu = {
	.name = "qemu",
	.caps = {
		.snapshots = true,
		.pause = true,
		.network_user = true,
		.shared_memory_clones = true,
		.agent_transport = "virtio-serial",
		.clone_least_mib = 12,
	},
	.binary = QEMU_BINARY,
	.binary_env = QEMU_BINARY_ENV,
	.probe = qemu_probe,
	.cmdline = qemu_cmdline,
	.confines = qemu_confines,
	.facts = qemu_facts,
	.spawn = qemu_spawn,
	.boot = qemu_cont,
	.pause = qemu_stop,
	.resume = qemu_cont,
	.snapshot = qemu_snapshot,
	.restore = qemu_restore,
	.forward = qemu_forward,
	.network_rules = qemu_network_rules,
	.power_button = qemu_power_button,
	.free = qemu_free,
};
