/* SPDX-License-Identifier: Apache-2.0 */
#include "fake.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/sock.h"
#include "vmm/pages.h"

#define STATE_TEXT "fake device state\n"

const char *fake_fail_at;

/* descriptors of the child */
enum { FD_CONTROL = 3, FD_AGENT, FD_CONSOLE, FD_MEMORY_DIR };

struct fake {
	struct vmm vmm;	      /* first */
	struct vmm_body body; /* of a clone */
	int memory_fd;	      /* likewise */
	/* 'b': boot, 'm': map a clone's memory, 'r': run as a clone; the child answers 'u' to all
	 * but 'b', and when it is up */
	int control_fd;
	struct loop_source *exit_source;
};

struct guest_memory {
	char nonce[40];
	unsigned count;
};

_Noreturn void fake_guest_main(int argc, char **argv)
{
	static struct guest_memory private_memory;
	struct guest_memory *m = &private_memory;
	char command = 0, line[64];
	size_t len = 0;

	if (argc != 3 || strcmp(argv[2], "none") == 0 || access(argv[2], R_OK) < 0) {
		fprintf(stderr, "could not load kernel '%s'\n", argc == 3 ? argv[2] : "");
		_exit(1);
	}
	int fd = openat(FD_MEMORY_DIR, "mem.bin", O_RDWR | O_CLOEXEC);
	while (command != 'b' && command != 'r') {
		(void)!write(FD_CONTROL, "u", 1);
		if (read(FD_CONTROL, &command, 1) != 1)
			_exit(0);
		if (fd >= 0 && m == &private_memory)
			m = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				 command == 'b' ? MAP_SHARED : MAP_PRIVATE, fd, 0);
		if (m == MAP_FAILED)
			_exit(1);
	}
	if (command == 'b') {
		uint64_t random;
		random_bytes(&random, sizeof(random));
		snprintf(m->nonce, sizeof(m->nonce), "%llx", (unsigned long long)random);
		m->count = 0;
		dprintf(FD_AGENT, "hello\n");
	} else {
		(void)!write(FD_CONTROL, "u", 1);
	}
	char c;
	while (read(FD_AGENT, &c, 1) == 1) {
		if (c != '\n') {
			if (len < sizeof(line) - 1)
				line[len++] = c;
			continue;
		}
		line[len] = '\0';
		len = 0;
		if (strcmp(line, "nonce") == 0)
			dprintf(FD_AGENT, "nonce %s\n", m->nonce);
		else if (strcmp(line, "count") == 0)
			dprintf(FD_AGENT, "count %u\n", ++m->count);
		else if (strcmp(line, "disk") == 0)
			dprintf(FD_AGENT, "disk MVMDISK\n");
		else if (strcmp(line, "off") == 0)
			_exit(77); /* on_exit_fd() takes this for a power-off by the guest */
	}
	_exit(0);
}

static int fail_if_told(const char *op, struct mvm_error *err)
{
	if (!str_eq(fake_fail_at, op))
		return 0;
	return mvm_error_set(err, -EREMOTEIO, "told to fail at %s", op);
}

static int fake_probe(const struct mvm_progress *progress, struct vmm_probe *ret,
		      struct mvm_error *err)
{
	(void)progress;
	if (str_eq(fake_fail_at, "probe")) {
		*ret = (struct vmm_probe){ .reason = strdup("told to be unusable") };
		return ret->reason ? 0 : mvm_error_oom(err);
	}
	*ret = (struct vmm_probe){ .usable = true, .version = strdup("1"), .tsc_khz = 1 };
	return ret->version ? 0 : mvm_error_oom(err);
}

static int fake_cmdline(const struct vmm_probe *probe, const struct vmm_config *config,
			const char *additions, char **ret, struct mvm_error *err)
{
	(void)probe;
	(void)config;
	*ret = str_printf("fake %s", additions ? additions : "");
	return *ret ? 0 : mvm_error_oom(err);
}

static int fake_facts(const struct vmm_probe *probe, const struct vmm_config *config,
		      struct strv *ret, struct mvm_error *err)
{
	(void)config;
	strv_addf(ret, "version=%s", probe->version);
	return ret->failed ? mvm_error_oom(err) : 0;
}

static void on_exit_fd(void *arg, uint32_t events)
{
	(void)events;
	struct fake *f = arg;
	int status = 0;
	if (process_wait(&f->vmm.process, 0, &status) < 0)
		return;
	loop_source_free(TAKE_PTR(f->exit_source));
	f->vmm.state = VMM_ENDED;
	f->vmm.exit_status = status;
	f->vmm.guest_stopped = WIFEXITED(status) && WEXITSTATUS(status) == 77;
	if (f->vmm.on_ended)
		f->vmm.on_ended(f->vmm.on_ended_arg, status);
}

static void fake_free(struct vmm *v)
{
	struct fake *f = (struct fake *)v;
	loop_source_free(f->exit_source);
	process_kill(&f->vmm.process);
	if (f->control_fd >= 0)
		close(f->control_fd);
	if (f->memory_fd >= 0)
		close(f->memory_fd);
	free(f->vmm.name);
	free(f);
}

/* Wait until the child says that it is up. */
static int wait_up(struct fake *f, int64_t deadline_ns, struct mvm_error *err)
{
	struct pollfd pfd = { .fd = f->control_fd, .events = POLLIN };
	char c;
	int n = poll(&pfd, 1, clock_remaining_ms(deadline_ns));
	if (n == 0 || clock_now_ns() >= deadline_ns)
		return mvm_error_set(err, -ETIMEDOUT, "the fake guest is silent");
	if (n < 0 || read(f->control_fd, &c, 1) != 1)
		return mvm_error_set(err, -EREMOTEIO, "the fake guest said: could not load kernel");
	return 0;
}

static int start(struct fake *f, const struct vmm_config *c, struct loop *loop, int64_t deadline_ns,
		 struct mvm_error *err)
{
	int pair[2], fds[] = { -1, c->agent_fd, c->console_fd, c->memory_dir_fd };
	int r = sock_pair(pair);
	if (r < 0)
		return mvm_error_set(err, r, "no socket");
	f->control_fd = pair[0];
	fds[0] = pair[1];
	struct process_spec spec = {
		.argv = (char *[]){ (char[]){ "/proc/self/exe" }, (char[]){ FAKE_GUEST_ARG },
				    (char *)c->kernel, NULL },
		.cwd_fd = c->dir_fd,
		.stdin_fd = -1,
		.stdout_fd = -1,
		.stderr_fd = c->log_fd,
		.fds = fds,
		.n_fds = c->memory == VMM_MEMORY_PRIVATE ? 3 : 4,
		.flags = PROCESS_DIE_WITH_PARENT,
	};
	if (c->memory == VMM_MEMORY_CAPTURE) {
		AUTO_CLOSE int fd = openat(c->memory_dir_fd, c->memory_name,
					   O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd < 0 || ftruncate(fd, 4096) < 0)
			r = mvm_error_set(err, -errno, "no memory file");
	}
	if (r == 0) {
		r = process_spawn(&spec, &f->vmm.process);
		if (r < 0)
			mvm_error_set(err, r, "cannot start: %s", strerror(-r));
	}
	close(pair[1]);
	if (r == 0)
		r = loop_add_fd(loop, f->vmm.process.pidfd, EPOLLIN, on_exit_fd, f,
				&f->exit_source);
	return r < 0 ? r : wait_up(f, deadline_ns, err);
}

static int fake_spawn(const struct vmm_probe *probe, const struct vmm_config *c, struct loop *loop,
		      int64_t deadline_ns, struct vmm **ret, struct mvm_error *err)
{
	(void)probe;
	int r = fail_if_told("spawn", err);
	if (r < 0)
		return r;
	struct fake *f = calloc(1, sizeof(*f));
	if (!f)
		return mvm_error_oom(err);
	f->vmm.ops = &vmm_fake;
	f->vmm.memory = c->memory;
	f->vmm.name = strdup(c->name);
	f->control_fd = f->memory_fd = -1;
	if (c->memory == VMM_MEMORY_CLONE)
		f->memory_fd = openat(c->memory_dir_fd, c->memory_name, O_RDONLY | O_CLOEXEC);
	r = f->vmm.name ? start(f, c, loop, deadline_ns, err) : mvm_error_oom(err);
	if (r < 0) {
		if (c->memory == VMM_MEMORY_CAPTURE)
			unlinkat(c->memory_dir_fd, c->memory_name, 0); /* may be missing */
		fake_free(&f->vmm);
		return r;
	}
	f->vmm.spawned_ns = clock_now_ns();
	*ret = &f->vmm;
	return 0;
}

static int tell(struct vmm *v, const char *command, struct mvm_error *err)
{
	if (send(((struct fake *)v)->control_fd, command, 1, MSG_NOSIGNAL) == 1)
		return 0;
	return mvm_error_set(err, -EREMOTEIO, "the fake guest has ended");
}

static int fake_boot(struct vmm *v, int64_t deadline_ns, struct mvm_error *err)
{
	(void)deadline_ns;
	int r = fail_if_told("boot", err);
	return r < 0 ? r : tell(v, "b", err);
}

static int fake_signal(struct vmm *v, const char *op, int sig, struct mvm_error *err)
{
	int r = fail_if_told(op, err);
	if (r == 0 && kill(v->process.pid, sig) < 0)
		r = mvm_error_set(err, -EREMOTEIO, "the fake guest has ended");
	return r;
}

static int fake_pause(struct vmm *v, int64_t deadline_ns, struct mvm_error *err)
{
	(void)deadline_ns;
	return fake_signal(v, "pause", SIGSTOP, err);
}

static int fake_resume(struct vmm *v, int64_t deadline_ns, struct mvm_error *err)
{
	(void)deadline_ns;
	return fake_signal(v, "resume", SIGCONT, err);
}

static int fake_snapshot(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err)
{
	(void)v;
	(void)deadline_ns;
	int r = fail_if_told("snapshot", err);
	if (r < 0)
		return r;
	r = file_create_at(dir_fd, "vmstate.bin", STATE_TEXT, strlen(STATE_TEXT), 0600);
	return r < 0 ? mvm_error_set(err, r, "cannot create 'vmstate.bin'") : 0;
}

static int fake_restore(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	int r = fail_if_told("restore", err);
	if (r < 0)
		return r;
	r = file_read_at(dir_fd, "vmstate.bin", 4096, &text, NULL);
	if (r < 0)
		return mvm_error_set(err, r, "cannot open 'vmstate.bin'");
	if (!str_eq(text, STATE_TEXT)) {
		process_kill(&v->process); /* as real backends do */
		return mvm_error_set(err, -EREMOTEIO, "the device state is damaged");
	}
	r = tell(v, "r", err);
	if (r == 0)
		r = wait_up((struct fake *)v, deadline_ns, err);
	v->loaded_ns = v->resumed_ns = clock_now_ns();
	return r;
}

struct vmm_body *fake_body(struct vmm *v)
{
	struct fake *f = (struct fake *)v;
	f->body = (struct vmm_body){ .ops = &vmm_fake, .process = v->process };
	return &f->body;
}

static const struct fake *fake_of(const struct vmm_body *b)
{
	return (const void *)((const char *)b - offsetof(struct fake, body));
}

static int fake_save_devices(struct vmm *v, int fd, int64_t deadline_ns, struct mvm_error *err)
{
	(void)v;
	(void)deadline_ns;
	int r = fail_if_told("save_devices", err);
	return r < 0 ? r : file_write_all(fd, STATE_TEXT, strlen(STATE_TEXT));
}

static int64_t fake_save_pages(const struct vmm_body *b, int to_fd, struct mvm_error *err)
{
	int64_t r = pages_save(b->process.pid, fake_of(b)->memory_fd, to_fd);
	return r < 0 ? mvm_error_set(err, (int)r, "cannot save the memory") : r;
}

static int fake_load_pages(const struct vmm_body *b, int from_fd, struct mvm_error *err)
{
	const struct fake *f = fake_of(b);
	int r = tell((struct vmm *)&f->vmm, "m", err);
	if (r == 0)
		r = wait_up((struct fake *)f, clock_deadline_ns(10 * INT64_C(1000)), err);
	if (r < 0)
		return r;
	r = pages_load(b->process.pid, f->memory_fd, from_fd);
	return r < 0 ? mvm_error_set(err, r, "the saved memory is damaged") : 0;
}

static int fake_finish_state(const struct vmm_body *b, int base_fd, int raw_fd, int to_fd,
			     struct mvm_error *err)
{
	(void)b;
	(void)base_fd;
	int r = file_copy_fd(raw_fd, to_fd);
	return r < 0 ? mvm_error_set(err, r, "cannot make the device state") : 0;
}

static unsigned fake_confines(const struct vmm_probe *probe, int dir_fd, const char **ret_obstacle)
{
	(void)probe;
	(void)dir_fd;
	*ret_obstacle = NULL; /* there is nothing to confine */
	return 0;
}

const struct vmm_ops vmm_fake = {
	.name = "fake",
	.caps = {
		.snapshots = true,
		.pause = true,
		.network_user = true,
		.shared_memory_clones = true,
		.agent_transport = "socket",
	},
	.probe = fake_probe,
	.cmdline = fake_cmdline,
	.confines = fake_confines,
	.facts = fake_facts,
	.spawn = fake_spawn,
	.boot = fake_boot,
	.pause = fake_pause,
	.resume = fake_resume,
	.snapshot = fake_snapshot,
	.save_devices = fake_save_devices,
	.save_pages = fake_save_pages,
	.load_pages = fake_load_pages,
	.finish_state = fake_finish_state,
	.restore = fake_restore,
	.free = fake_free,
};
