/* SPDX-License-Identifier: Apache-2.0 */
/* Firecracker's process: everything that takes rights to make, to keep and to end.  Nothing here
 * reads a byte that Firecracker sends. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/sock.h"
#include "vmm/firecracker/firecracker.h"
#include "vmm/memory.h"
#include "vmm/walls.h"

#define JAILED	 (VMM_ISOLATION_USER | VMM_ISOLATION_JAILER | VMM_ISOLATION_SYSCALLS)
#define UNJAILED (VMM_ISOLATION_SYSCALLS | fc_walls_there_are()) /* its own filters, Landlock */

static struct fc_body *body_of(struct vmm_body *b)
{
	return (struct fc_body *)b;
}

/* Firecracker's arguments, behind the jailer's if there is one. */
static int arguments(const struct fc_body *f, const char *name, struct strv *ret)
{
	char id[FC_ID_SIZE];
	fc_id(name, id);
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

/* A pipe for its standard error and its log.  A jail has no /proc, so there the pipe has a name. */
static int open_words(struct fc_body *f, int *ret_from, int *ret_to)
{
	int fds[2], folder_fd = f->folder.fd;
	if (!f->jail.jailer) {
		if (pipe2(fds, O_CLOEXEC) < 0)
			return -errno;
		*ret_from = fds[0];
		*ret_to = fds[1];
		return 0;
	}
	if (mkfifoat(folder_fd, FC_LOG_FIFO, 0600) < 0)
		return -errno;
	*ret_from = openat(folder_fd, FC_LOG_FIFO, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	if (*ret_from < 0)
		return -errno;
	*ret_to = openat(folder_fd, FC_LOG_FIFO, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	return *ret_to < 0 ? -errno : fc_jail_own(&f->jail, FC_LOG_FIFO);
}

static int spawn_process(struct fc_body *f, struct process_spec *spec)
{
	if (f->jail.jailer) {
		spec->cwd_fd = AT_FDCWD;
		spec->in_child = fc_jail_enter;
		spec->in_child_arg = &f->jail;
	}
	int r;
	if (f->netns)
		r = netns_spawn(f->netns, spec, &f->body.process);
	else if (f->jail.jailer)
		r = process_spawn(spec, &f->body.process);
	else
		r = fc_walls_spawn(&f->box, &f->isolation, spec, &f->body.process);
	if (r == 0 && f->jail.jailer)
		r = own_uid_tie(&f->jail.user, f->body.process.pid);
	return r;
}

static int start_process(struct fc_body *f, const struct vmm_config *c, struct vmm_ends *ends,
			 struct mvm_error *err)
{
	AUTO_DONE(strv) argv = { 0 };
	int to = -1;
	int r = arguments(f, c->name, &argv);
	if (r < 0)
		return mvm_error_oom(err);
	r = open_words(f, &ends->fd[VMM_END_WORDS], &to);
	AUTO_CLOSE int words_to = to;
	if (r < 0)
		return mvm_error_set(err, r, "cannot make a pipe: %s", strerror(-r));
	/* in the order of enum fc_fd; the revision's folder stands in for one that this VM lacks.
	 * A jail gets none of them: its files are mounted, and a folder would lead out of it */
	const int fds[FC_FD_COUNT] = {
		c->dir_fd,
		vmm_has_own_drive(c) ? c->own_dir_fd : c->dir_fd,
		c->memory == VMM_MEMORY_PRIVATE ? c->dir_fd : c->memory_dir_fd,
	};
	static char *const no_environment[] = { NULL };
	struct fc_walls walls = { .binary = f->binary, .config = c };
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
	if (!f->jail.jailer) {
		if (!walls_are_off()) /* the jailer clears it, too */
			spec.env = no_environment;
		spec.before_exec = fc_walls_enter;
		spec.in_child_arg = &walls;
	}
	r = spawn_process(f, &spec);
	if (r < 0)
		return mvm_error_set(err, r, "cannot start '%s': %s", argv.v[0], strerror(-r));
	ends->fd[VMM_END_PROCESS] = fcntl(f->body.process.pidfd, F_DUPFD_CLOEXEC, 3);
	return ends->fd[VMM_END_PROCESS] < 0
		       ? mvm_error_set(err, -errno, "cannot watch Firecracker: %s", strerror(errno))
		       : 0;
}

/* Use the jailer where it can work.  One that the environment names must work, and so must any for
 * root, unless MVM_JAILER=none declines it. */
static int open_jail(struct fc_body *f, const struct vmm_config *c, struct mvm_error *err)
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

static int make_folder(struct fc_body *f, const struct vmm_config *c, struct mvm_error *err)
{
	char id[FC_ID_SIZE];
	fc_id(c->name, id);
	if (!f->jail.jailer)
		return fc_folder_make(c, NULL, NULL, &f->folder, err);
	AUTO_FREE char *root = fc_jail_root(f->binary, id);
	return root ? fc_folder_make(c, &f->jail, root, &f->folder, err) : mvm_error_oom(err);
}

/* What the other half waits at: for the API's socket, and for the guest. */
static int open_ends(struct fc_body *f, const struct vmm_config *c, struct vmm_ends *ends,
		     struct mvm_error *err)
{
	int r = ends->fd[VMM_END_LISTEN] = sock_listen_at(f->folder.fd, FC_AGENT_SOCKET);
	if (r >= 0 && f->jail.jailer)
		r = fc_jail_own(&f->jail, FC_AGENT_SOCKET);
	ends->fd[VMM_END_CHANNEL] = fcntl(c->agent_fd, F_DUPFD_CLOEXEC, 3);
	if (r >= 0 && ends->fd[VMM_END_CHANNEL] < 0)
		r = -errno;
	if (r < 0)
		return mvm_error_set(err, r, "cannot listen for the agent: %s", strerror(-r));
	r = ends->fd[VMM_END_NOTICE] = fc_folder_watch(&f->folder);
	return r < 0 ? mvm_error_set(err, r, "cannot watch the working folder: %s", strerror(-r))
		     : 0;
}

static int set_quiet(struct fc_body *f, bool quiet)
{
	f->quiet = quiet;
	return f->netns ? netns_quiet(f->netns, quiet) : 0;
}

static int start(struct fc_body *f, const struct vmm_config *c, struct loop *loop,
		 struct vmm_ends *ends, struct mvm_error *err)
{
	char byte;
	int r = open_jail(f, c, err);
	if (r == 0)
		r = make_folder(f, c, err);
	/* Firecracker writes a capture's memory late, and owns its folder from its start on */
	f->needs_proc = r == 0 && f->captured &&
			readlinkat(f->folder.fd, FC_MEMORY_FILE, &byte, 1) > 0;
	if (r == 0 && c->network)
		r = netns_new(loop, c->forwards, c->n_forwards, &c->network_rules,
			      f->jail.jailer ? f->jail.user.uid : (uid_t)-1, c->network_held,
			      &f->netns, err);
	/* it continues a VM: its network must not write before the VM's own pages are there */
	if (r == 0 && c->continues)
		r = set_quiet(f, true);
	if (r < 0)
		return r;
	f->isolation = (f->jail.jailer ? JAILED : UNJAILED) |
		       (f->netns ? VMM_ISOLATION_NETWORK : 0);
	r = open_ends(f, c, ends, err);
	return r < 0 ? r : start_process(f, c, ends, err);
}

/* The file that the clone maps, which fc_save_pages() and fc_load_pages() look for. */
static int open_memory(struct fc_body *f, const struct vmm_config *c, struct mvm_error *err)
{
	f->memory_fd = openat(c->memory_dir_fd, c->memory_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return f->memory_fd < 0 ? mvm_error_set(err, -errno, "cannot open '%s': %s", c->memory_name,
						strerror(errno))
				: 0;
}

int fc_start(const struct vmm_probe *probe, const struct vmm_config *c, struct loop *loop,
	     struct vmm_body **ret, struct vmm_ends *ret_ends, struct mvm_error *err)
{
	AUTO_DONE(vmm_ends) ends = VMM_ENDS_NONE;
	struct fc_body *f = calloc(1, sizeof(*f));
	bool failed = false;
	if (!f)
		return mvm_error_oom(err);
	f->body.ops = &vmm_firecracker;
	f->folder = (struct fc_folder)FC_FOLDER_NONE;
	f->jail = (struct fc_jail)FC_JAIL_NONE;
	f->box = (struct box)BOX_NONE;
	f->binary = str_dup(probe->binary, &failed);
	f->state_format = str_dup(probe->state_format, &failed);
	f->pause_breaks_vsock = fc_pause_breaks_vsock(probe->version);
	f->captured = c->memory == VMM_MEMORY_CAPTURE;
	f->memory_fd = -1;
	int r = failed ? mvm_error_oom(err) : 0;
	if (r == 0 && c->memory == VMM_MEMORY_CAPTURE)
		r = vmm_memory_make(&vmm_firecracker, c, err);
	if (r == 0 && c->memory == VMM_MEMORY_CLONE)
		r = open_memory(f, c, err);
	if (r == 0) {
		r = start(f, c, loop, &ends, err);
		if (r < 0 && c->memory == VMM_MEMORY_CAPTURE)
			unlinkat(c->memory_dir_fd, c->memory_name, 0); /* best effort */
	}
	if (r < 0) {
		fc_end(&f->body);
		return r;
	}
	ends.pid = f->body.process.pid;
	ends.isolation = f->isolation;
	*ret_ends = ends;
	ends = (struct vmm_ends)VMM_ENDS_NONE;
	*ret = &f->body;
	return 0;
}

int fc_seal(struct vmm_body *b, struct mvm_error *err)
{
	struct fc_body *f = body_of(b);
	if (f->needs_proc || f->box.keeper.pid <= 0)
		return 0;
	int r = box_seal(&f->box);
	return r < 0 ? mvm_error_set(err, r, "cannot take the host's files from Firecracker: %s",
				     strerror(-r))
		     : 0;
}

int fc_connect(struct vmm_body *b)
{
	struct fc_body *f = body_of(b);
	if (f->connected) /* the guest may have run since, and its VMM owns the folder */
		return -EPERM;
	int fd = sock_try_connect_at(f->folder.fd, FC_API_SOCKET);
	f->connected = fd >= 0;
	return fd;
}

/* With VMM_HALT_PAUSE the guest sees its CPUs stand still, as on a host that is too busy.
 *
 * A paused Firecracker goes on to write what arrives from the network into the guest's memory.  So
 * nothing may arrive between the two halves of a state, the devices' and the memory's. */
int fc_halt(struct vmm_body *b, enum vmm_halt how)
{
	struct fc_body *f = body_of(b);
	bool only_answers = how == VMM_HALT_QUIET || how == VMM_HALT_STILL;
	if (!only_answers && !f->quiet && !f->pause_breaks_vsock)
		return -EOPNOTSUPP;
	/* for a capture, Firecracker itself must pause the machine, which then stays paused */
	if (f->captured)
		return how == VMM_HALT_PAUSE ? -EOPNOTSUPP : -EPERM;
	if (b->process.pid <= 0)
		return -ESRCH;
	int r = 0;
	if (how == VMM_HALT_OFF || how == VMM_HALT_QUIET)
		r = set_quiet(f, how == VMM_HALT_QUIET);
	bool stop = how == VMM_HALT_PAUSE || how == VMM_HALT_STILL;
	return kill(b->process.pid, stop ? SIGSTOP : SIGCONT) < 0 ? -errno : r; /* not reaped */
}

static int no_network(struct mvm_error *err)
{
	return mvm_error_set(err, -EOPNOTSUPP, "the VM has no network");
}

/* A Diff snapshot finds the touched pages with mincore(2), which misses swapped-out pages. */
bool fc_host_swaps(void)
{
	AUTO_FREE char *text = NULL;
	AUTO_CLOSE int fd = open("/proc/swaps", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno != ENOENT; /* a kernel without swap has no such file */
	if (file_read_fd(fd, 65536, &text, NULL) < 0)
		return true;
	const char *first = strchr(text, '\n');
	return first && first[1];
}

int fc_open_port(struct vmm_body *b, const struct vmm_forward *forward, struct mvm_error *err)
{
	struct netns *n = body_of(b)->netns;
	return n ? netns_forward(n, forward, err) : no_network(err);
}

int fc_set_rules(struct vmm_body *b, const struct vmm_network *rules, struct mvm_error *err)
{
	struct netns *n = body_of(b)->netns;
	return n ? netns_rules(n, rules, err) : no_network(err);
}

void fc_take_back(struct vmm_body *b)
{
	fc_jail_give_back(&body_of(b)->jail);
}

void fc_end(struct vmm_body *b)
{
	struct fc_body *f = body_of(b);
	if (!f)
		return;
	process_kill(&f->body.process);
	box_done(&f->box);
	netns_free(f->netns);
	fc_jail_done(&f->jail);
	fc_folder_done(&f->folder);
	auto_close(&f->memory_fd);
	free(f->binary);
	free(f->state_format);
	free(f);
}

int fc_refuses(const struct vmm_probe *probe, char **ret_why)
{
	return fc_jail_refuses(probe->binary, -1, ret_why);
}

unsigned fc_confines(const struct vmm_probe *probe, int dir_fd, const char **ret_obstacle)
{
	AUTO_FREE char *jailer = NULL;
	if (geteuid() != 0) {
		unsigned namespaces = fc_walls_namespaces();
		*ret_obstacle = namespaces ? NULL : "this host refuses namespaces to this user";
		if (walls_are_off())
			*ret_obstacle = "MVM_ISOLATION is off";
		else if (namespaces && !fc_walls_there_are())
			*ret_obstacle = "this host has no Landlock";
		return UNJAILED | namespaces;
	}
	if (fc_jailer_find(probe->binary, &jailer) != 1)
		*ret_obstacle = getenv(FC_JAILER_ENV) ? FC_JAILER_ENV " names no jailer"
						      : "there is no jailer beside Firecracker";
	else
		*ret_obstacle = fc_jail_obstacle(probe->binary, dir_fd);
	/* with a network, it is of the VM's own */
	return *ret_obstacle ? UNJAILED : JAILED;
}
