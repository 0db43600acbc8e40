/* SPDX-License-Identifier: Apache-2.0 */
#include "scripted_vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/sock.h"

#define POWERED_OFF 77
#define CHILD_FDS   500 /* above all open descriptors */

int scripted_vmm_fd;
bool scripted_vmm_holds_end;
bool scripted_vmm_gives_console;
int scripted_vmm_save_fails;

struct scripted {
	struct vmm vmm; /* first */
	struct loop *loop;
	struct loop_source *exit_source;
	int status; /* valid once the VMM has ended */
	char answer;
};

static void carry(int from, int to, int test_fd)
{
	char bytes[4096];
	ssize_t n = read(from, bytes, sizeof(bytes));
	if (n <= 0)
		_exit(from == test_fd ? POWERED_OFF : 1);
	if (file_write_all(to, bytes, (size_t)n) < 0)
		_exit(to == test_fd ? POWERED_OFF : 1);
}

/* The agent's channel ends, but the VMM does not.  Hanging up on the test tells the test. */
static _Noreturn void run_without_agent(int agent_fd, int test_fd)
{
	close(agent_fd);
	shutdown(test_fd, SHUT_WR);
	for (;;)
		pause();
}

/* Hold the console open, so that it hangs up when the VMM dies. */
static _Noreturn void run_child(int agent_fd, int console_fd, int test_fd)
{
	struct pollfd fds[2] = { { .events = POLLIN }, { .events = POLLIN } };
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	fds[0].fd = fcntl(agent_fd, F_DUPFD, CHILD_FDS);
	fds[1].fd = fcntl(test_fd, F_DUPFD, CHILD_FDS);
	int last = fcntl(console_fd, F_DUPFD, CHILD_FDS);
	syscall(SYS_close_range, 3, CHILD_FDS - 1, 0);
	syscall(SYS_close_range, last + 1, ~0u, 0);
	for (;;) {
		if (poll(fds, 2, -1) < 0)
			_exit(1);
		if (fds[0].revents)
			carry(fds[0].fd, fds[1].fd, fds[1].fd);
		char c;
		if (fds[1].revents && !(fds[1].revents & POLLHUP) &&
		    recv(fds[1].fd, &c, 1, MSG_PEEK) == 0)
			run_without_agent(fds[0].fd, fds[1].fd);
		if (fds[1].revents)
			carry(fds[1].fd, fds[0].fd, fds[1].fd);
	}
}

static void report_end(struct scripted *f)
{
	f->vmm.state = VMM_ENDED;
	f->vmm.exit_status = f->status;
	f->vmm.guest_stopped = WIFEXITED(f->status) && WEXITSTATUS(f->status) == POWERED_OFF;
	if (f->vmm.guest_stopped)
		f->vmm.exit_status = 0;
	if (f->vmm.on_ended)
		f->vmm.on_ended(f->vmm.on_ended_arg, f->vmm.exit_status);
}

static void on_release(void *arg, uint32_t events)
{
	struct scripted *f = arg;
	char letter;
	(void)events;
	loop_source_free(TAKE_PTR(f->exit_source));
	if (read(scripted_vmm_fd, &letter, 1) == 1)
		report_end(f);
}

static void on_exit_fd(void *arg, uint32_t events)
{
	struct scripted *f = arg;
	(void)events;
	if (process_wait(&f->vmm.process, 0, &f->status) < 0)
		return;
	loop_source_free(TAKE_PTR(f->exit_source));
	if (!scripted_vmm_holds_end ||
	    loop_add_fd(f->loop, scripted_vmm_fd, EPOLLIN, on_release, f, &f->exit_source) < 0)
		report_end(f);
}

static void on_answer(void *arg, uint32_t events)
{
	struct scripted *f = arg;
	(void)events;
	if (read(scripted_vmm_fd, &f->answer, 1) != 1)
		f->answer = VMM_STEP_FAIL;
}

/* Wait for the test to answer a step.  If the VMM dies, the step ends without an answer. */
static int step(struct vmm *v, enum vmm_step letter, int64_t deadline_ns, struct mvm_error *err)
{
	struct scripted *f = (struct scripted *)v;
	struct loop_source *source;
	char say = (char)letter;
	f->answer = 0;
	if (letter != VMM_STEP_SPAWN && file_write_all(scripted_vmm_fd, &say, 1) < 0)
		return mvm_error_set(err, -EIO, "the test has gone");
	int r = loop_add_fd(f->loop, scripted_vmm_fd, EPOLLIN, on_answer, f, &source);
	while (r == 0 && !f->answer && v->state != VMM_ENDED)
		r = loop_run_once(f->loop, deadline_ns);
	loop_source_free(source);
	if (r == 0 && f->answer == VMM_STEP_DONE)
		return 0;
	return mvm_error_set(err, r < 0 ? r : -EREMOTEIO, "the scripted VMM failed at '%c'",
			     letter);
}

static int probe(const struct mvm_progress *progress, struct vmm_probe *ret, struct mvm_error *err)
{
	(void)progress;
	*ret = (struct vmm_probe){ .usable = true, .version = strdup("1"), .tsc_khz = 1 };
	return ret->version ? 0 : mvm_error_oom(err);
}

static void scripted_free(struct vmm *v)
{
	struct scripted *f = (struct scripted *)v;
	loop_source_free(f->exit_source);
	process_kill(&f->vmm.process);
	free(f->vmm.name);
	free(f);
}

static int start(struct scripted *f, const struct vmm_config *c, struct mvm_error *err)
{
	int pair[2];
	char letter = VMM_STEP_SPAWN;
	int r = sock_pair(pair);
	if (r < 0)
		return mvm_error_set(err, r, "no socket");
	AUTO_CLOSE int theirs = pair[0];
	AUTO_CLOSE int ours = pair[1];
	pid_t pid = fork();
	if (pid == 0)
		run_child(c->agent_fd, c->console_fd, ours);
	f->vmm.process.pid = pid;
	f->vmm.process.pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	r = loop_add_fd(f->loop, f->vmm.process.pidfd, EPOLLIN, on_exit_fd, f, &f->exit_source);
	if (r == 0)
		r = sock_send_fd(scripted_vmm_fd, &letter, 1, theirs);
	if (r == 0)
		r = file_write_all(scripted_vmm_fd, &pid, sizeof(pid));
	if (r == 0 && scripted_vmm_gives_console)
		r = sock_send_fd(scripted_vmm_fd, &letter, 1, c->console_fd);
	return r < 0 ? mvm_error_set(err, r, "cannot start the scripted VMM") : 0;
}

static int spawn(const struct vmm_probe *p, const struct vmm_config *c, struct loop *loop,
		 int64_t deadline_ns, struct vmm **ret, struct mvm_error *err)
{
	struct scripted *f = calloc(1, sizeof(*f));
	(void)p;
	if (!f)
		return mvm_error_oom(err);
	f->vmm.ops = &scripted_vmm;
	f->vmm.memory = c->memory;
	f->vmm.name = strdup(c->name);
	f->loop = loop;
	int r = f->vmm.name ? start(f, c, err) : mvm_error_oom(err);
	if (r == 0)
		r = step(&f->vmm, VMM_STEP_SPAWN, deadline_ns, err);
	if (r < 0) {
		scripted_free(&f->vmm);
		return r;
	}
	f->vmm.spawned_ns = clock_now_ns();
	*ret = &f->vmm;
	return 0;
}

static int boot(struct vmm *v, int64_t deadline_ns, struct mvm_error *err)
{
	return step(v, VMM_STEP_BOOT, deadline_ns, err);
}

static int pause_cpus(struct vmm *v, int64_t deadline_ns, struct mvm_error *err)
{
	return step(v, VMM_STEP_PAUSE, deadline_ns, err);
}

static int resume(struct vmm *v, int64_t deadline_ns, struct mvm_error *err)
{
	return step(v, VMM_STEP_RESUME, deadline_ns, err);
}

static int snapshot(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err)
{
	(void)dir_fd;
	return step(v, VMM_STEP_CAPTURE, deadline_ns, err);
}

static int save_devices(struct vmm *v, int fd, int64_t deadline_ns, struct mvm_error *err)
{
	(void)fd;
	return step(v, VMM_STEP_SAVE, deadline_ns, err);
}

static int64_t save_pages(const struct vmm_body *b, int to_fd, struct mvm_error *err)
{
	(void)b;
	(void)to_fd;
	if (scripted_vmm_save_fails)
		return mvm_error_set(err, -scripted_vmm_save_fails, "as the test says");
	return 0;
}

static int load_pages(const struct vmm_body *b, int from_fd, struct mvm_error *err)
{
	(void)b;
	(void)from_fd;
	(void)err;
	return 0;
}

static int finish_state(const struct vmm_body *b, int base_fd, int raw_fd, int to_fd,
			struct mvm_error *err)
{
	(void)b;
	(void)base_fd;
	(void)raw_fd;
	(void)to_fd;
	(void)err;
	return 0;
}

static int open_state(int dir_fd, bool create)
{
	int fd = openat(dir_fd, "vmstate.bin", create ? O_WRONLY | O_CREAT : O_RDONLY, 0600);
	return fd < 0 ? -errno : fd;
}

static int restore(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err)
{
	(void)dir_fd;
	v->loaded_ns = v->resumed_ns = clock_now_ns();
	return step(v, VMM_STEP_RESTORE, deadline_ns, err);
}

const struct vmm_ops scripted_vmm = {
	.name = "scripted",
	.caps = { .snapshots = true, .pause = true, .shared_memory_clones = true },
	.probe = probe,
	.spawn = spawn,
	.boot = boot,
	.pause = pause_cpus,
	.resume = resume,
	.snapshot = snapshot,
	.open_state = open_state,
	.save_devices = save_devices,
	.save_pages = save_pages,
	.load_pages = load_pages,
	.finish_state = finish_state,
	.restore = restore,
	.free = scripted_free,
};
