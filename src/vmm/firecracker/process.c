/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "vmm/firecracker/firecracker.h"
#include "vmm/memory.h"

static struct firecracker *fc_of(struct vmm *v)
{
	return (struct firecracker *)v;
}

static void on_exit_fd(void *arg, uint32_t events)
{
	(void)events;
	struct firecracker *f = arg;
	int status = 0;
	if (process_wait(&f->vmm.process, 0, &status) < 0)
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
	process_kill(&f->vmm.process);
	words_read(&f->words); /* so that the log has the last ones, too */
	words_done(&f->words);
	http_free(f->http);
	fc_agent_done(&f->agent);
	netns_free(f->netns);
	fc_jail_done(&f->jail);
	fc_folder_done(&f->folder);
	free(f->binary);
	free(f->state_format);
	free(f->vmm.name);
	free(f);
}

static void free_firecracker(struct firecracker *f)
{
	fc_free(f ? &f->vmm : NULL);
}
DEFINE_AUTO(firecracker, free_firecracker)

/* The argument that fc_folder_connect() passes to start_process(). */
struct launch {
	struct firecracker *f;
	const struct vmm_config *config;
};

#define JAILED	 (VMM_ISOLATION_USER | VMM_ISOLATION_JAILER | VMM_ISOLATION_SYSCALLS)
#define UNJAILED VMM_ISOLATION_SYSCALLS /* its own filters */

/* Firecracker's arguments, behind the jailer's if there is one. */
static int arguments(const struct firecracker *f, struct strv *ret)
{
	char id[FC_ID_SIZE];
	fc_id(f->vmm.name, id);
	if (f->jail.jailer) {
		fc_jail_args(&f->jail, f->binary, id, ret);
	} else {
		strv_add(ret, f->binary);
		strv_add(ret, "--id");
		strv_add(ret, id);
	}
	strv_add(ret, "--api-sock"); /* Firecracker ends if it cannot make the socket */
	strv_add(ret, FC_API_SOCKET);
	/* we read its last words there; on standard output they would mix with the console */
	strv_add(ret, "--log-path");
	strv_add(ret, f->jail.jailer ? FC_LOG_FIFO : "/proc/self/fd/2");
	strv_add(ret, "--level");
	strv_add(ret, "Warn");
	return ret->failed ? -ENOMEM : 0;
}

/* A jail has no /proc, so there the pipe has a name. */
static int open_words(struct firecracker *f, int log_fd, int *ret_to)
{
	if (!f->jail.jailer)
		return words_open(&f->words, log_fd, ret_to);
	int r = words_open_at(&f->words, f->folder.fd, FC_LOG_FIFO, log_fd, ret_to);
	return r < 0 ? r : fc_jail_own(&f->jail, FC_LOG_FIFO);
}

static int spawn_process(struct firecracker *f, struct process_spec *spec)
{
	if (f->jail.jailer) {
		spec->cwd_fd = f->folder.base_fd;
		spec->in_child = fc_jail_enter;
		spec->in_child_arg = &f->jail;
	}
	int r = f->netns ? netns_spawn(f->netns, spec, &f->vmm.process)
			 : process_spawn(spec, &f->vmm.process);
	if (r == 0 && f->jail.jailer)
		r = own_uid_tie(&f->jail.user, f->vmm.process.pid);
	return r;
}

static int start_process(void *arg, struct mvm_error *err)
{
	const struct launch *l = arg;
	struct firecracker *f = l->f;
	const struct vmm_config *c = l->config;
	AUTO_DONE(strv) argv = { 0 };
	int to = -1;
	int r = arguments(f, &argv);
	if (r < 0)
		return mvm_error_oom(err);
	r = open_words(f, c->log_fd, &to);
	if (r < 0)
		return mvm_error_set(err, r, "cannot make a pipe: %s", strerror(-r));
	AUTO_CLOSE int words_to = to;
	/* in the order of enum fc_fd; the revision's folder stands in for one that this VM lacks.
	 * A jail gets none of them: its files are mounted, and a folder would lead out of it */
	const int fds[FC_FD_COUNT] = {
		c->dir_fd,
		vmm_has_own_drive(c) ? c->own_dir_fd : c->dir_fd,
		c->memory == VMM_MEMORY_PRIVATE ? c->dir_fd : c->memory_dir_fd,
	};
	struct process_spec spec = {
		.argv = argv.v,
		.cwd_fd = f->folder.fd,
		.stdin_fd = -1,
		.stdout_fd = c->console_fd,
		.stderr_fd = words_to,
		.fds = fds,
		.n_fds = f->jail.jailer ? 0 : FC_FD_COUNT,
		.flags = PROCESS_DIE_WITH_PARENT,
	};
	if (c->memory == VMM_MEMORY_CLONE)
		spec.flags |= PROCESS_NO_HUGE_PAGES;
	r = spawn_process(f, &spec);
	if (r < 0)
		return mvm_error_set(err, r, "cannot start '%s': %s", argv.v[0], strerror(-r));
	r = loop_add_fd(f->loop, f->vmm.process.pidfd, EPOLLIN, on_exit_fd, f, &f->exit_source);
	if (r == 0)
		r = words_watch(&f->words, f->loop);
	return r < 0 ? mvm_error_set(err, r, "cannot watch Firecracker: %s", strerror(-r)) : 0;
}

static int connect_api(struct firecracker *f, const struct vmm_config *c, int64_t deadline_ns,
		       struct mvm_error *err)
{
	struct launch launch = { f, c };
	int fd = fc_folder_connect(&f->folder, FC_API_SOCKET, f->loop, start_process, &launch,
				   &f->vmm.state, deadline_ns, err);
	if (fd < 0)
		return fc_explain(f, fd, deadline_ns, err);
	int r = http_new(f->loop, fd, "Firecracker", &f->http);
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

/* Use the jailer where it can work.  One that the environment names must work, and so must any for
 * root, unless MVM_JAILER=none declines it. */
static int open_jail(struct firecracker *f, const struct vmm_config *c, struct mvm_error *err)
{
	AUTO_FREE char *jailer = NULL;
	AUTO_FREE char *why = NULL;
	int r = fc_jailer_find(f->binary, &jailer);
	if (r < 0)
		return mvm_error_set(err, r, FC_JAILER_ENV " names '%s': %s", getenv(FC_JAILER_ENV),
				     strerror(-r));
	const char *obstacle = r == 1 ? fc_jail_obstacle(f->binary, c->work_fd) : NULL;
	if (obstacle && getenv(FC_JAILER_ENV))
		return mvm_error_set(err, -EOPNOTSUPP,
				     "cannot use the jailer that " FC_JAILER_ENV " names: %s",
				     obstacle);
	if (r == 1 && !obstacle)
		return fc_jail_open(&f->jail, jailer, err);
	r = fc_jail_refuses(f->binary, c->work_fd, &why);
	if (r == 1)
		return mvm_error_set(err, -EOPNOTSUPP, "%s", why);
	return r < 0 ? mvm_error_oom(err) : 0;
}

static int fc_refuses(const struct vmm_probe *probe, char **ret_why)
{
	return fc_jail_refuses(probe->binary, -1, ret_why);
}

static int make_folder(struct firecracker *f, const struct vmm_config *c, struct mvm_error *err)
{
	char id[FC_ID_SIZE];
	fc_id(c->name, id);
	if (!f->jail.jailer)
		return fc_folder_make(c, NULL, NULL, &f->folder, err);
	AUTO_FREE char *root = fc_jail_root(f->binary, id);
	return root ? fc_folder_make(c, &f->jail, root, &f->folder, err) : mvm_error_oom(err);
}

static int start(struct firecracker *f, const struct vmm_config *c, int64_t deadline_ns,
		 struct mvm_error *err)
{
	int r = open_jail(f, c, err);
	if (r == 0)
		r = make_folder(f, c, err);
	if (r == 0 && c->network)
		r = netns_new(f->loop, c->forwards, c->n_forwards, &c->network_rules,
			      f->jail.jailer ? f->jail.user.uid : (uid_t)-1, &f->netns, err);
	if (r < 0)
		return r;
	f->vmm.isolation = (f->jail.jailer ? JAILED : UNJAILED) |
			   (f->netns ? VMM_ISOLATION_NETWORK : 0);
	r = fc_agent_listen(&f->agent, f->loop, f->folder.fd, c);
	if (r == 0 && f->jail.jailer)
		r = fc_jail_own(&f->jail, FC_AGENT_SOCKET);
	if (r < 0)
		return mvm_error_set(err, r, "cannot listen for the agent: %s", strerror(-r));
	r = connect_api(f, c, deadline_ns, err);
	if (r == 0)
		r = describe_machine(f, c, deadline_ns, err);
	if (r == 0)
		f->vmm.spawned_ns = clock_now_ns();
	return r;
}

static int fc_spawn(const struct vmm_probe *probe, const struct vmm_config *c, struct loop *loop,
		    int64_t deadline_ns, struct vmm **ret, struct mvm_error *err)
{
	AUTO(firecracker) f = calloc(1, sizeof(*f));
	bool failed = false;
	if (!f)
		return mvm_error_oom(err);
	f->words = (struct words)WORDS_NONE;
	f->folder = (struct fc_folder)FC_FOLDER_NONE;
	f->agent = (struct fc_agent)FC_AGENT_NONE;
	f->jail = (struct fc_jail)FC_JAIL_NONE;
	f->loop = loop;
	f->vmm.ops = &vmm_firecracker;
	f->vmm.memory = c->memory;
	f->vmm.name = str_dup(c->name, &failed);
	f->binary = str_dup(probe->binary, &failed);
	f->state_format = str_dup(probe->state_format, &failed);
	f->rate.bytes_per_s = c->network_rules.bytes_per_s;
	f->rate.packets_per_s = c->network_rules.packets_per_s;
	f->pause_breaks_vsock = fc_pause_breaks_vsock(probe->version);
	if (failed)
		return mvm_error_oom(err);

	int r = c->memory == VMM_MEMORY_CAPTURE ? vmm_memory_make(c, err) : 0;
	if (r < 0)
		return r;
	/* clones in jails read it as users of their own; the folders above keep others out */
	if (c->memory == VMM_MEMORY_CAPTURE &&
	    fchmodat(c->memory_dir_fd, c->memory_name, 0644, 0) < 0)
		return mvm_error_set(err, -errno, "cannot change the mode of '%s': %s",
				     c->memory_name, strerror(errno));
	r = start(f, c, deadline_ns, err);
	if (r < 0) {
		if (c->memory == VMM_MEMORY_CAPTURE)
			unlinkat(c->memory_dir_fd, c->memory_name, 0); /* best effort */
		return r;
	}
	*ret = &TAKE_PTR(f)->vmm;
	return 0;
}

static int act(struct vmm *v, enum fc_action action, int64_t deadline_ns, struct mvm_error *err)
{
	AUTO_DONE(fc_requests) requests = { 0 };
	int r = fc_requests_action(action, &requests, err);
	return r < 0 ? r : fc_do(fc_of(v), &requests, deadline_ns, err);
}

static int fc_boot(struct vmm *v, int64_t deadline_ns, struct mvm_error *err)
{
	return act(v, FC_START, deadline_ns, err);
}

/* The guest sees its CPUs stand still, as on a host that is too busy. */
static int signal_process(struct firecracker *f, int sig, struct mvm_error *err)
{
	if (kill(f->vmm.process.pid, sig) < 0) /* our child, and not reaped yet */
		return mvm_error_set(err, -errno, "cannot signal Firecracker: %s", strerror(errno));
	return 0;
}

/* For a capture, Firecracker itself must pause the machine, which then stays paused. */
static bool pauses_by_signal(const struct firecracker *f)
{
	return f->pause_breaks_vsock && f->vmm.memory != VMM_MEMORY_CAPTURE;
}

static int fc_pause(struct vmm *v, int64_t deadline_ns, struct mvm_error *err)
{
	if (pauses_by_signal(fc_of(v)))
		return signal_process(fc_of(v), SIGSTOP, err);
	return act(v, FC_PAUSE, deadline_ns, err);
}

static int fc_resume(struct vmm *v, int64_t deadline_ns, struct mvm_error *err)
{
	if (pauses_by_signal(fc_of(v)))
		return signal_process(fc_of(v), SIGCONT, err);
	if (fc_of(v)->pause_breaks_vsock)
		return mvm_error_set(err, -EOPNOTSUPP,
				     "Firecracker 1.16 would lose the agent's connection");
	return act(v, FC_RESUME, deadline_ns, err);
}

static int fc_forward(struct vmm *v, const struct vmm_forward *forward, int64_t deadline_ns,
		      struct mvm_error *err)
{
	(void)deadline_ns; /* it waits for nothing */
	if (!fc_of(v)->netns)
		return mvm_error_set(err, -EOPNOTSUPP, "the VM has no network");
	return netns_forward(fc_of(v)->netns, forward, err);
}

static int fc_network_rules(struct vmm *v, const struct vmm_network *rules, int64_t deadline_ns,
			    struct mvm_error *err)
{
	(void)deadline_ns; /* nothing is waited for */
	if (!fc_of(v)->netns)
		return mvm_error_set(err, -EOPNOTSUPP, "the VM has no network");
	return netns_rules(fc_of(v)->netns, rules, err);
}

/* Firecracker has no power button, but a keyboard.  On Ctrl+Alt+Del a guest restarts, and that ends
 * the VM. */
static int fc_power_button(struct vmm *v, int64_t deadline_ns, struct mvm_error *err)
{
	return act(v, FC_CTRL_ALT_DEL, deadline_ns, err);
}

static unsigned fc_confines(const struct vmm_probe *probe, int dir_fd, const char **ret_obstacle)
{
	AUTO_FREE char *jailer = NULL;
	if (geteuid() == 0 && fc_jailer_find(probe->binary, &jailer) != 1)
		*ret_obstacle = getenv(FC_JAILER_ENV) ? FC_JAILER_ENV " names no jailer"
						      : "there is no jailer beside Firecracker";
	else
		*ret_obstacle = fc_jail_obstacle(probe->binary, dir_fd);
	/* with a network, it is of the VM's own */
	return *ret_obstacle ? UNJAILED : JAILED;
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
	},
	.binary = FC_BINARY,
	.binary_env = FC_BINARY_ENV,
	.probe = fc_probe,
	.refuses = fc_refuses,
	.network_obstacle = netns_obstacle,
	.cmdline = fc_cmdline,
	.confines = fc_confines,
	.facts = fc_facts,
	.spawn = fc_spawn,
	.boot = fc_boot,
	.pause = fc_pause,
	.resume = fc_resume,
	.forward = fc_forward,
	.network_rules = fc_network_rules,
	.power_button = fc_power_button,
	.snapshot = fc_snapshot,
	.restore = fc_restore,
	.free = fc_free,
};
