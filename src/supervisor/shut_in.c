/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/shut_in.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/landlock.h"
#include "base/rlimit.h"
#include "base/sock.h"
#include "base/syscalls.h"
#include "supervisor/supervise.h"
#include "supervisor/warden_ask.h"
#include "supervisor/warden_parts.h"
#include "vmm/privilege.h"
#include "vmm/uid.h"
#include "vmm/walls.h"

extern char **environ;

/* of address space: STREAMS_MAX streams with full windows both ways need 512 MiB */
#define MEMORY_MAX ((uint64_t)1 << 30)

/* The system calls of a supervisor once it has started.  None takes a path, or makes a socket or a
 * process. */
static const uint16_t calls[] = {
	SYS_read,
	SYS_readv,
	SYS_recvfrom,
	SYS_recvmsg,
	SYS_write,
	SYS_writev,
	SYS_sendto,
	SYS_sendmsg,
	SYS_close,
	SYS_lseek,
	SYS_fsync,
	SYS_fcntl,
	SYS_accept4,
	SYS_getsockopt,
	SYS_shutdown,
	SYS_epoll_ctl,
	SYS_epoll_wait,
	SYS_epoll_pwait,
	SYS_poll,
	SYS_ppoll,
	SYS_clock_gettime,
	SYS_clock_nanosleep,
	SYS_timerfd_create, /* the guest's clock follows the host's */
	SYS_timerfd_settime,
	SYS_gettimeofday,
	SYS_getrandom,
	SYS_brk,
	SYS_mmap,
	SYS_munmap,
	SYS_mremap,
	SYS_mprotect,
	SYS_madvise,
	SYS_futex,
	SYS_getpid,
	SYS_gettid,
	SYS_geteuid,
	SYS_tgkill,
	SYS_rt_sigaction,
	SYS_rt_sigprocmask,
	SYS_rt_sigreturn,
	SYS_sched_yield,
	SYS_restart_syscall,
	SYS_exit,
	SYS_exit_group,
};

/* ---- the warden's process ---- */

struct guard {
	struct warden warden;
	int fd;
	int child_fd; /* the shut-in process's pidfd */
	struct line_message
		first; /* the answer to the first start, which comes without a question */
	bool started, over;
};

static int answer_one(struct guard *g)
{
	AUTO_DONE(line_message) asked = { 0 };
	AUTO_DONE(line_message) reply = { 0 };
	int r = line_receive_question(g->fd, g->child_fd, &asked);
	if (r < 0)
		return r;
	if (asked.what == ASK_START && !g->started) {
		g->started = true;
		reply = g->first;
		g->first = (struct line_message){ 0 };
	} else {
		warden_answer(&g->warden, &asked, &reply);
	}
	return line_send(g->fd, g->child_fd, &reply);
}

static void on_question(void *arg, uint32_t events)
{
	struct guard *g = arg;
	(void)events;
	if (!g->over)
		g->over = answer_one(g) < 0;
}

/* The other process has ended, even if somebody else holds its end of the line by now. */
static void on_child(void *arg, uint32_t events)
{
	struct guard *g = arg;
	(void)events;
	g->over = true;
}

static int watch_child(struct guard *g, pid_t child)
{
	struct loop_source *line, *end;			      /* as long as the process */
	g->child_fd = (int)syscall(SYS_pidfd_open, child, 0); /* not reaped, so still its pid */
	if (g->child_fd < 0 || fcntl(g->fd, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	int r = loop_new(&g->warden.loop);
	if (r == 0)
		r = loop_add_fd(g->warden.loop, g->child_fd, EPOLLIN, on_child, g, &end);
	return r < 0 ? r : loop_add_fd(g->warden.loop, g->fd, EPOLLIN, on_question, g, &line);
}

/* Close everything that belongs to the other process, or nobody would see its end. */
static void close_all_but(int a, int b)
{
	int low = a < b ? a : b, high = a < b ? b : a;
	if (low > SUPERVISOR_FD_END)
		syscall(SYS_close_range, SUPERVISOR_FD_END, low - 1, 0);
	if (high > low + 1)
		syscall(SYS_close_range, low < SUPERVISOR_FD_END ? SUPERVISOR_FD_END : low + 1,
			high - 1, 0);
	syscall(SYS_close_range, high + 1, ~0u, 0);
	close(SUPERVISOR_FD_LEASH);
	close(SUPERVISOR_FD_LISTEN);
	close(SUPERVISOR_FD_SOURCE);
}

static _Noreturn void stand_guard(struct supervisor *s, const struct vmm_ops *ops, int fd,
				  const struct own_uid *user, pid_t child)
{
	struct guard g = { .warden = { .given = s->given,
				       .ops = ops,
				       .record = s->record,
				       .revision = s->revision,
				       .theirs = { -1, -1 },
				       .memory_dir_fd = -1,
				       .saving = WARDEN_SAVING_NONE,
				       .saved_dir_fd = -1 },
			   .fd = fd,
			   .child_fd = -1 };
	const struct line_message start = { .what = ASK_START };

	close_all_but(fd, user->fd);
	g.warden.record.supervisor_pid = g.warden.shut_in = child;
	int r = watch_child(&g, child);
	if (r == 0) /* meanwhile the other process shuts itself in */
		warden_answer(&g.warden, &start, &g.first);
	while (r == 0 && !g.over)
		r = loop_run_once(g.warden.loop, DEADLINE_NONE);
	line_message_done(&g.first);
	kill(child, SIGKILL); /* it has ended, or must */
	/* release the lock first, so that it is free when others see the supervisor's end */
	close(s->given->fd[SUPERVISOR_FD_LOCK]);
	warden_done(&g.warden);
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	_exit(0);
}

/* ---- the shut-in process ---- */

/* Wipe the text itself, too: it may hold secrets, and would stay in memory as long as the
 * process. */
static void wipe_environment(void)
{
	for (char **e = environ; e && *e; e++)
		explicit_bzero(*e, strlen(*e));
	clearenv();
}

static void close_files(const struct supervisor_given *given)
{
	static const int fds[] = {
		SUPERVISOR_FD_INSTANCE, SUPERVISOR_FD_LOCK,  SUPERVISOR_FD_REVISION,
		SUPERVISOR_FD_LEASE,	SUPERVISOR_FD_CACHE, SUPERVISOR_FD_CAPTURE,
		SUPERVISOR_FD_LOGS,
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(fds); i++)
		close(given->fd[fds[i]]);
}

/* The start that takes a VM of a pool chooses the limit, and the warden sets it then, if it may.
 * Until then the VM has the default. */
static int limit_logs(const struct record *rec, bool same_uid)
{
	struct rlimit now;
	bool later = rec->purpose == RECORD_FOR_POOL;
	if (!later)
		return rlimit_lower(RLIMIT_FSIZE, log_longest(rec));
	if (!same_uid && !privilege_has(CAP_SYS_RESOURCE))
		return 0;
	if (getrlimit(RLIMIT_FSIZE, &now) < 0)
		return -errno;
	if (now.rlim_cur > log_longest(rec))
		now.rlim_cur = log_longest(rec); /* no call on the list raises it */
	return setrlimit(RLIMIT_FSIZE, &now) < 0 ? -errno : 0;
}

static int limit_resources(const struct record *rec, bool same_uid)
{
	const struct rlimit_most limits[] = {
		WALLS_RLIMITS,
		{ RLIMIT_NPROC, 0 },
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* they reserve terabytes */
		{ RLIMIT_AS, MEMORY_MAX },
#endif
	};
	signal(SIGXFSZ, SIG_IGN);
	int r = rlimit_lower_all(limits, MVM_ARRAY_SIZE(limits));
	return r < 0 ? r : limit_logs(rec, same_uid);
}

/* Afterwards it can open no file. */
static void open_hostload(struct supervisor *s)
{
	AUTO_CLOSE int proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	hostload_open(proc_fd, hostload_cpus(), &s->host);
}

static int give_up_rights(const struct supervisor *s, const struct own_uid *user, pid_t warden)
{
	int r = limit_resources(&s->record, user->fd < 0);
	if (r == 0)
		r = user->fd >= 0 ? own_uid_become(user, 0, false) : privilege_keep_only(0);
	if (r < 0)
		return r;
	/* a change of uid clears the one and may set the other */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return -errno;
	if (getppid() != warden)
		return -ESRCH; /* it died before the prctl() */
	if (landlock_version() > 0) {
		AUTO_CLOSE int rules_fd = landlock_open(false);
		r = rules_fd < 0 ? rules_fd : landlock_enter(rules_fd);
		if (r < 0)
			return r;
	}
	if (!SYSCALLS_FILTER_SELF)
		return 0;
	return syscalls_enter(calls, MVM_ARRAY_SIZE(calls), SYSCALLS_ACCEPT);
}

static int enter(struct supervisor *s, int fd, struct own_uid *user, pid_t warden,
		 struct mvm_error *err)
{
	s->warden.fd = fd;
	s->record.supervisor_pid = getpid();
	close_files(s->given);
	wipe_environment();
	open_hostload(s);
	int r = chdir("/") < 0 ? -errno : give_up_rights(s, user, warden);
	own_uid_done(user); /* the warden holds it */
	return r < 0 ? mvm_error_set(err, r, "cannot shut the supervisor in: %s", strerror(-r)) : 0;
}

/* ---- both ---- */

static int stay_together(struct supervisor *s, struct mvm_error *err)
{
	struct warden *w = calloc(1, sizeof(*w));
	if (!w)
		return mvm_error_oom(err);
	s->warden.here = w;
	open_hostload(s);
	int r = warden_init(w, s->given, err);
	w->loop = s->loop;
	w->record.supervisor_pid = s->record.supervisor_pid;
	return r;
}

int shut_in(struct supervisor *s, struct mvm_error *err)
{
	const struct vmm_ops *ops = s->given->backend;
	struct own_uid user = OWN_UID_NONE;
	int pair[2];
	s->warden = (struct warden_link){ .fd = -1 };
	int r = ops ? 0 : vmm_backend_find(s->record.backend, &ops, err);
	if (r < 0)
		return r;
	if (!s->given->apart || !ops->start || walls_are_off())
		return stay_together(s, err);
	r = sock_pair(pair);
	if (r == 0 && !own_uid_obstacle())
		r = own_uid_take(&user);
	if (r < 0)
		return mvm_error_set(err, r, "cannot shut the supervisor in: %s", strerror(-r));
	pid_t parent = getpid(), child = fork();
	if (child < 0)
		return mvm_error_set(err, -errno, "cannot shut the supervisor in: %s",
				     strerror(errno));
	if (child > 0)
		stand_guard(s, ops, pair[0], &user, child);
	close(pair[0]);
	return enter(s, pair[1], &user, parent, err);
}

void shut_in_done(struct supervisor *s)
{
	if (!s->warden.here)
		return;
	warden_done(s->warden.here);
	free(TAKE_PTR(s->warden.here));
}
