/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/parse.h"
#include "vmm/qemu/qemu.h"

/* QEMU closes its socket a moment before it ends.  On a busy host that moment is long. */
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
	if (q->keeper.reap(q->keeper.arg, &status) < 0)
		return; /* it has not ended yet */
	loop_source_free(TAKE_PTR(q->exit_source));
	words_read(&q->words);
	qmp_process(q->qmp); /* its last events tell why it ended */
	q->vmm.exit_status = status;
	q->vmm.state = VMM_ENDED;
	if (q->vmm.on_ended)
		q->vmm.on_ended(q->vmm.on_ended_arg, status); /* last: it may free q */
}

/* Nothing that QEMU says about it is passed on as text. */
static void on_disk_error(struct qemu *q, json_t *data)
{
	static const char prefix[] = "drive"; /* as args.c names them */
	const char *node = json_string_value(json_object_get(data, "node-name"));
	uint64_t drive;
	if (!q->vmm.on_disk || !node || !str_starts(node, prefix) ||
	    parse_u64(node + strlen(prefix), 0, 3, &drive) < 0)
		return;
	const char *reason = json_string_value(json_object_get(data, "reason"));
	const char *operation = json_string_value(json_object_get(data, "operation"));
	const struct vmm_disk_error error = {
		.drive = (size_t)drive,
		.write = str_eq(operation, "write"),
		/* "nospace" tells it only of a VM that stops for it */
		.no_room = str_eq(reason, strerror(ENOSPC)) || str_eq(reason, strerror(EDQUOT)),
	};
	q->vmm.on_disk(q->vmm.on_disk_arg, &error);
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
	} else if (str_eq(name, "RESUME")) {
		q->vmm.resumed_ns = clock_now_ns();
		if (q->vmm.loaded_ns == 0) /* QEMU goes on by itself when it has loaded */
			q->vmm.loaded_ns = q->vmm.resumed_ns;
	} else if (str_eq(name, "BLOCK_IO_ERROR")) {
		on_disk_error(q, data);
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
	q->keeper.end(q->keeper.arg);
	words_read(&q->words); /* so that the log has the last ones, too */
	words_done(&q->words);
	net_helper_done(&q->net);
	qmp_free(q->qmp);
	auto_close(&q->vmm.process.pidfd);
	free(q->vmm.name);
	free(q);
}

static void free_qemu(struct qemu *q)
{
	qemu_free(q ? &q->vmm : NULL);
}
DEFINE_AUTO(qemu, free_qemu)

static void on_network(void *arg, const struct vmm_network_news *news)
{
	const struct qemu *q = arg;
	if (q->vmm.on_network)
		q->vmm.on_network(q->vmm.on_network_arg, news);
}

/* Watch QEMU's channels and its process.  Does not wait for QEMU. */
static int attach(struct qemu *q, const struct vmm_config *c, struct vmm_ends *ends,
		  struct mvm_error *err)
{
	int r = qmp_new(q->loop, ends->fd[VMM_END_CONTROL], on_event, q, &q->qmp);
	if (r == 0)
		(void)TAKE_FD(ends->fd[VMM_END_CONTROL]);
	if (r == 0)
		r = loop_add_fd(q->loop, q->vmm.process.pidfd, EPOLLIN, on_exit_fd, q,
				&q->exit_source);
	if (r == 0)
		r = words_take(&q->words, ends->fd[VMM_END_WORDS], c->log_fd);
	if (r == 0) {
		(void)TAKE_FD(ends->fd[VMM_END_WORDS]);
		r = words_watch(&q->words, q->loop);
	}
	if (r == 0 && c->network)
		r = net_helper_take(&q->net, TAKE_FD(ends->fd[VMM_END_NETWORK]), &q->keeper,
				    q->loop, on_network, q);
	return r < 0 ? mvm_error_set(err, r, "cannot watch QEMU: %s", strerror(-r)) : 0;
}

static int attach_and_greet(struct qemu *q, const struct vmm_config *c, struct vmm_ends *ends,
			    int64_t deadline_ns, struct mvm_error *err)
{
	int r = attach(q, c, ends, err);
	if (r < 0)
		return r;
	if (c->restores)
		r = qemu_prepare_load(q, err);
	/* mvm-net is ready before QEMU is, so all that it takes is beside QEMU's start */
	if (r == 0 && c->network)
		r = net_helper_ready(&q->net, deadline_ns, err);
	if (r == 0 && c->network)
		r = q->keeper.seal_network(q->keeper.arg, err);
	if (r < 0)
		return r;
	/* QEMU answers only when it has made the whole machine */
	r = qmp_wait_ready(q->qmp, deadline_ns, err);
	if (r < 0)
		return qemu_explain(q, r, deadline_ns, err);
	/* it has opened everything it needs, and the guest has not run yet */
	r = q->keeper.seal(q->keeper.arg, err);
	q->vmm.spawned_ns = clock_now_ns();
	return r;
}

static int qemu_attach(const struct vmm_config *c, struct vmm_ends *ends,
		       const struct vmm_keeper *keeper, struct loop *loop, int64_t deadline_ns,
		       struct vmm **ret, struct mvm_error *err)
{
	AUTO_DONE(vmm_ends) own = *ends;
	*ends = (struct vmm_ends)VMM_ENDS_NONE;
	AUTO(qemu) q = calloc(1, sizeof(*q));
	if (!q) {
		keeper->end(keeper->arg);
		return mvm_error_oom(err);
	}
	q->keeper = *keeper;
	q->words = (struct words)WORDS_NONE;
	q->net = (struct net_helper)NET_HELPER_NONE;
	q->loop = loop;
	q->vmm.ops = &vmm_qemu;
	q->vmm.memory = c->memory;
	q->vmm.isolation = own.isolation;
	q->vmm.process.pid = (pid_t)own.pid;
	q->vmm.process.pidfd = TAKE_FD(own.fd[VMM_END_PROCESS]);
	q->vmm.name = strdup(c->name);
	int r = q->vmm.name ? attach_and_greet(q, c, &own, deadline_ns, err) : mvm_error_oom(err);
	if (r < 0)
		return r;
	*ret = &TAKE_PTR(q)->vmm;
	return 0;
}

static void qemu_kill(struct vmm *v)
{
	struct qemu *q = qemu_of(v);
	q->keeper.kill(q->keeper.arg);
}

static int simple_call(struct vmm *v, const char *command, int64_t deadline_ns,
		       struct mvm_error *err)
{
	struct qemu *q = qemu_of(v);
	int r = qmp_call(q->qmp, command, NULL, -1, deadline_ns, NULL, err);
	return qemu_explain(q, r, deadline_ns, err);
}

/* The reply comes once the CPUs run, or have stopped. */
static int qemu_cont(struct vmm *v, int64_t deadline_ns, struct mvm_error *err)
{
	return simple_call(v, "cont", deadline_ns, err);
}

/* A QEMU that does not stop in time obeys later, when nobody expects it.  So it is told to go on
 * then. */
static int qemu_stop(struct vmm *v, int64_t deadline_ns, struct mvm_error *err)
{
	int r = simple_call(v, "stop", deadline_ns, err);
	if (r == -ETIMEDOUT)
		qmp_call(qemu_of(v)->qmp, "cont", NULL, -1, clock_deadline_ns(0), NULL, NULL);
	return r;
}

/* This is an ACPI event.  The guest needs a driver for its button, and a program that listens. */
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
		.network_domains = true,
		.network_visits = true,
		.shared_memory_clones = true,
		.agent_transport = "virtio-serial",
		.clone_least_mib = 12,
		.memory_mode = 0600, /* it gets a descriptor */
	},
	.binary = QEMU_BINARY,
	.binary_env = QEMU_BINARY_ENV,
	.probe = qemu_probe,
	.cmdline = qemu_cmdline,
	.confines = qemu_confines,
	.facts = qemu_facts,
	.start = qemu_start,
	.attach = qemu_attach,
	.seal = qemu_seal,
	.open_state = qemu_open_state,
	.take_back = qemu_take_back,
	.end = qemu_end,
	.save_pages = qemu_save_pages,
	.load_pages = qemu_load_pages,
	.finish_state = qemu_finish_state,
	.start_network = qemu_start_network,
	.seal_network = qemu_seal_network,
	.network_pid = qemu_network_pid,
	.kill = qemu_kill,
	.boot = qemu_cont,
	.pause = qemu_stop,
	.resume = qemu_cont,
	.snapshot = qemu_snapshot,
	.save_devices = qemu_save_devices,
	.restore = qemu_restore,
	.forward = qemu_forward,
	.network_rules = qemu_network_rules,
	.power_button = qemu_power_button,
	.free = qemu_free,
};
