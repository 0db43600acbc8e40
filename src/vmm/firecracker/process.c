/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "vmm/firecracker/firecracker.h"

/* inotify reports bind(2), but nothing reports listen(2), which follows microseconds later. */
#define LISTEN_RETRY_NS (NS_PER_MS / 2)

static struct firecracker *fc_of(struct vmm *v)
{
	return (struct firecracker *)v;
}

static void on_exit_fd(void *arg, uint32_t events)
{
	(void)events;
	struct firecracker *f = arg;
	int status = 0;
	if (f->keeper.reap(f->keeper.arg, &status) < 0)
		return; /* it has not ended yet */
	loop_source_free(TAKE_PTR(f->exit_source));
	words_read(&f->words);
	/* only the guest makes a running Firecracker end with status 0 */
	f->vmm.guest_stopped = f->vmm.state == VMM_RUNNING && WIFEXITED(status) &&
			       WEXITSTATUS(status) == 0;
	f->vmm.guest_reset = f->vmm.guest_stopped; /* Firecracker knows no power-off */
	f->vmm.exit_status = status;
	f->vmm.state = VMM_ENDED;
	if (f->vmm.on_ended)
		f->vmm.on_ended(f->vmm.on_ended_arg, status); /* last: it may free f */
}

static void fc_free(struct vmm *v)
{
	struct firecracker *f = fc_of(v);
	if (!f)
		return;
	loop_source_free(f->exit_source);
	f->keeper.end(f->keeper.arg);
	words_read(&f->words); /* so that the log has the last ones, too */
	words_done(&f->words);
	http_free(f->http);
	fc_agent_done(&f->agent);
	auto_close(&f->vmm.process.pidfd);
	free(f->vmm.name);
	free(f);
}

static void free_firecracker(struct firecracker *f)
{
	fc_free(f ? &f->vmm : NULL);
}
DEFINE_AUTO(firecracker, free_firecracker)

/* ---- meeting it ---- */

/* Discard the events: whatever they are, wait_and_connect() tries again after each. */
static void on_notice(void *arg, uint32_t events)
{
	const int *fd = arg;
	char buffer[4096];
	(void)events;
	while (read(*fd, buffer, sizeof(buffer)) > 0)
		;
}

static void on_timer(void *arg)
{
	(void)arg; /* it only ends the loop's turn */
}

static int wait_and_connect(struct firecracker *f, struct loop_source *timer, int64_t deadline_ns)
{
	for (;;) {
		if (clock_now_ns() >= deadline_ns)
			return -ETIMEDOUT;
		int fd = f->keeper.connect(f->keeper.arg);
		if (fd >= 0 || (fd != -ENOENT && fd != -ECONNREFUSED && fd != -EAGAIN))
			return fd;
		if (f->vmm.state == VMM_ENDED)
			return -ECANCELED;
		if (fd != -ENOENT)
			loop_source_arm(timer, clock_now_ns() + LISTEN_RETRY_NS);
		int r = loop_run_once(f->loop, deadline_ns);
		if (r < 0)
			return r;
	}
}

static int connect_api(struct firecracker *f, const int *notice_fd, int64_t deadline_ns,
		       struct mvm_error *err)
{
	AUTO(loop_source) timer = NULL;
	AUTO(loop_source) source = NULL;
	int r = loop_add_fd(f->loop, *notice_fd, EPOLLIN, on_notice, (void *)notice_fd, &source);
	if (r == 0)
		r = loop_add_timer(f->loop, DEADLINE_NONE, on_timer, NULL, &timer);
	if (r < 0)
		return mvm_error_set(err, r, "cannot watch the working folder: %s", strerror(-r));
	int fd = wait_and_connect(f, timer, deadline_ns);
	if (fd == -ETIMEDOUT)
		return mvm_error_set(err, fd, "Firecracker did not open its API in time");
	if (fd < 0) {
		mvm_error_set(err, fd, "cannot reach Firecracker's API: %s", strerror(-fd));
		return fc_explain(f, fd, deadline_ns, err);
	}
	r = http_new(f->loop, fd, "Firecracker", &f->http);
	if (r < 0) {
		close(fd);
		return mvm_error_set(err, r, "cannot watch Firecracker: %s", strerror(-r));
	}
	return 0;
}

/* A clone's machine comes from the snapshot.  Firecracker loads none after a description. */
static int describe_machine(struct firecracker *f, const struct vmm_config *c, int64_t deadline_ns,
			    struct mvm_error *err)
{
	AUTO_DONE(fc_requests) requests = { 0 };
	if (c->memory == VMM_MEMORY_CLONE)
		return 0;
	int r = fc_requests_config(c, &requests, err);
	return r < 0 ? r : fc_do(f, &requests, deadline_ns, err);
}

/* Watch Firecracker's channels and its process. */
static int attach(struct firecracker *f, const struct vmm_config *c, struct vmm_ends *ends,
		  struct mvm_error *err)
{
	int r = loop_add_fd(f->loop, f->vmm.process.pidfd, EPOLLIN, on_exit_fd, f, &f->exit_source);
	if (r == 0)
		r = words_take(&f->words, ends->fd[VMM_END_WORDS], c->log_fd);
	if (r == 0) {
		(void)TAKE_FD(ends->fd[VMM_END_WORDS]);
		r = words_watch(&f->words, f->loop);
	}
	if (r == 0)
		r = fc_agent_wait(&f->agent, f->loop, TAKE_FD(ends->fd[VMM_END_LISTEN]),
				  TAKE_FD(ends->fd[VMM_END_CHANNEL]), c);
	return r < 0 ? mvm_error_set(err, r, "cannot watch Firecracker: %s", strerror(-r)) : 0;
}

static int fc_attach(const struct vmm_config *c, struct vmm_ends *ends,
		     const struct vmm_keeper *keeper, struct loop *loop, int64_t deadline_ns,
		     struct vmm **ret, struct mvm_error *err)
{
	AUTO_DONE(vmm_ends) own = *ends;
	*ends = (struct vmm_ends)VMM_ENDS_NONE;
	AUTO(firecracker) f = calloc(1, sizeof(*f));
	if (!f) {
		keeper->end(keeper->arg);
		return mvm_error_oom(err);
	}
	f->keeper = *keeper;
	f->words = (struct words)WORDS_NONE;
	f->agent = (struct fc_agent)FC_AGENT_NONE;
	f->loop = loop;
	f->network = c->network;
	f->rate.bytes_per_s = c->network_rules.bytes_per_s;
	f->rate.packets_per_s = c->network_rules.packets_per_s;
	f->vmm.ops = &vmm_firecracker;
	f->vmm.memory = c->memory;
	f->vmm.isolation = own.isolation;
	f->vmm.process.pid = (pid_t)own.pid;
	f->vmm.process.pidfd = TAKE_FD(own.fd[VMM_END_PROCESS]);
	f->vmm.name = strdup(c->name);
	int r = f->vmm.name ? attach(f, c, &own, err) : mvm_error_oom(err);
	if (r == 0)
		r = connect_api(f, &own.fd[VMM_END_NOTICE], deadline_ns, err);
	if (r == 0)
		r = describe_machine(f, c, deadline_ns, err);
	if (r < 0)
		return r;
	f->vmm.spawned_ns = clock_now_ns();
	*ret = &TAKE_PTR(f)->vmm;
	return 0;
}

/* ---- the ops ---- */

int fc_act(struct firecracker *f, enum fc_action action, int64_t deadline_ns, struct mvm_error *err)
{
	AUTO_DONE(fc_requests) requests = { 0 };
	int r = fc_requests_action(action, &requests, err);
	return r < 0 ? r : fc_do(f, &requests, deadline_ns, err);
}

/* Firecracker opens /dev/kvm when it starts the guest, and no file afterwards. */
static int fc_boot(struct vmm *v, int64_t deadline_ns, struct mvm_error *err)
{
	struct firecracker *f = fc_of(v);
	int r = fc_act(f, FC_START, deadline_ns, err);
	return r < 0 ? r : f->keeper.seal(f->keeper.arg, err);
}

int fc_halt_process(struct firecracker *f, enum vmm_halt how, struct mvm_error *err)
{
	int r = f->keeper.halt(f->keeper.arg, how);
	if (r == -EOPNOTSUPP)
		return 1;
	if (r == -EPERM)
		return mvm_error_set(err, -EOPNOTSUPP,
				     "Firecracker 1.16 would lose the agent's connection");
	return r < 0 ? mvm_error_set(err, r, "cannot signal Firecracker: %s", strerror(-r)) : 0;
}

/* A Firecracker that does not pause in time obeys later, when nobody expects it and no answer is
 * read any more.  So it is told to go on then. */
int fc_pause_by_itself(struct firecracker *f, int64_t deadline_ns, struct mvm_error *err)
{
	AUTO_DONE(fc_requests) go_on = { 0 };
	int r = fc_requests_action(FC_RESUME, &go_on, err);
	if (r == 0)
		r = fc_act(f, FC_PAUSE, deadline_ns, err);
	if (r == -ETIMEDOUT)
		http_send_last(f->http, go_on.v[0].method, go_on.v[0].path, go_on.v[0].body);
	f->paused = r == 0;
	return r;
}

static int fc_pause(struct vmm *v, int64_t deadline_ns, struct mvm_error *err)
{
	int r = fc_halt_process(fc_of(v), VMM_HALT_PAUSE, err);
	return r > 0 ? fc_pause_by_itself(fc_of(v), deadline_ns, err) : r;
}

static int fc_resume(struct vmm *v, int64_t deadline_ns, struct mvm_error *err)
{
	struct firecracker *f = fc_of(v);
	int r = fc_halt_process(f, VMM_HALT_OFF, err);
	if (r < 0 || (r == 0 && !f->paused))
		return r;
	r = fc_act(f, FC_RESUME, deadline_ns, err);
	f->paused = r < 0;
	return r;
}

static int fc_forward(struct vmm *v, const struct vmm_forward *forward, int64_t deadline_ns,
		      struct mvm_error *err)
{
	(void)deadline_ns; /* it waits for nothing */
	return fc_of(v)->keeper.open_port(fc_of(v)->keeper.arg, forward, err);
}

static int fc_network_rules(struct vmm *v, const struct vmm_network *rules, int64_t deadline_ns,
			    struct mvm_error *err)
{
	(void)deadline_ns; /* nothing is waited for */
	return fc_of(v)->keeper.set_rules(fc_of(v)->keeper.arg, rules, err);
}

static void fc_kill(struct vmm *v)
{
	fc_of(v)->keeper.kill(fc_of(v)->keeper.arg);
}

/* Firecracker has no power button, but a keyboard.  On Ctrl+Alt+Del a guest restarts, and that ends
 * the VM. */
static int fc_power_button(struct vmm *v, int64_t deadline_ns, struct mvm_error *err)
{
	return fc_act(fc_of(v), FC_CTRL_ALT_DEL, deadline_ns, err);
}

const struct vmm_ops vmm_firecracker = {
	.name = "firecracker",
	.caps = {
		.snapshots = true,
		.pause = true,
		.network_user = true,
		.shared_memory_clones = true,
		.agent_transport = "vsock",
		.clone_least_mib = 2,
		/* those in jails have users of their own; the folders above keep others out */
		.memory_mode = 0644,
	},
	.binary = FC_BINARY,
	.binary_env = FC_BINARY_ENV,
	.probe = fc_probe,
	.refuses = fc_refuses,
	.network_obstacle = netns_obstacle,
	.cmdline = fc_cmdline,
	.confines = fc_confines,
	.facts = fc_facts,
	.start = fc_start,
	.attach = fc_attach,
	.seal = fc_seal,
	.take_back = fc_take_back,
	.end = fc_end,
	.save_pages = fc_save_pages,
	.load_pages = fc_load_pages,
	.finish_state = fc_finish_state,
	.connect = fc_connect,
	.halt = fc_halt,
	.host_swaps = fc_host_swaps,
	.move_state = fc_move_state,
	.open_port = fc_open_port,
	.set_rules = fc_set_rules,
	.kill = fc_kill,
	.boot = fc_boot,
	.pause = fc_pause,
	.resume = fc_resume,
	.forward = fc_forward,
	.network_rules = fc_network_rules,
	.power_button = fc_power_button,
	.snapshot = fc_snapshot,
	.save_devices = fc_save_devices,
	.map_memory = fc_map_memory,
	.restore = fc_restore,
	.free = fc_free,
};
