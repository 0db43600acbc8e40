/* SPDX-License-Identifier: Apache-2.0 */
#include "subject.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/sock.h"

struct subject B;

int64_t soon(void)
{
	return clock_deadline_ns(300000);
}

void need_backend(void)
{
	if (!B.skip)
		return;
	print_message("skipped: %s: %s\n", B.ops->name, B.skip);
	skip();
}

static void on_console(void *arg, uint32_t events)
{
	struct machine *m = arg;
	char chunk[1024];
	(void)events;
	ssize_t n = read(m->console_fd, chunk, sizeof(chunk));
	if (n <= 0) {
		loop_source_free(TAKE_PTR(m->console_source));
		return;
	}
	if (m->console_len + (size_t)n >= sizeof(m->console))
		m->console_len = 0;
	memcpy(m->console + m->console_len, chunk, (size_t)n);
	m->console_len += (size_t)n;
	m->console[m->console_len] = '\0';
}

static void on_ended(void *arg, int status)
{
	(void)status;
	((struct machine *)arg)->ended++;
}

struct vmm_config config_of(enum vmm_memory memory)
{
	return (struct vmm_config){
		.name = "subject",
		.vcpus = 1,
		.mem_mib = 128,
		.dir_fd = B.dir_fd,
		.kernel = "vmlinux",
		.initrd = "initrd",
		.cmdline = B.cmdline,
		.drives = { { .name = "rootfs.ext4", .read_only = true } },
		.n_drives = 1,
		.network = !vmm_network_obstacle(B.ops),
		.memory = memory,
		.memory_dir_fd = B.snap_fd,
		.memory_name = "mem.bin",
		.work_fd = B.dir_fd,
		.log_fd = -1,
	};
}

/* vmm_spawn() by its two halves, so that we have the body. */
static int spawn_apart(struct machine *m, const struct vmm_config *c, int64_t deadline_ns,
		       struct mvm_error *err)
{
	struct vmm_ends ends = VMM_ENDS_NONE;
	int r = vmm_start(B.ops, &B.probe, c, B.loop, &m->body, &ends, err);
	if (r < 0)
		return r;
	const struct vmm_keeper keeper = vmm_keeper_of(m->body);
	return vmm_attach(B.ops, c, &ends, &keeper, B.loop, deadline_ns, &m->vmm, err);
}

int spawn(struct machine *m, struct vmm_config *c, int64_t deadline_ns, struct mvm_error *err)
{
	int agent[2], console[2];
	*m = (struct machine){ .agent_fd = -1, .console_fd = -1 };
	assert_int_equal(sock_pair(agent), 0);
	assert_int_equal(sock_pair(console), 0);
	c->agent_fd = agent[1];
	c->console_fd = console[1];
	int r = c->memory == VMM_MEMORY_CLONE && B.ops->start && B.ops->save_pages
			? spawn_apart(m, c, deadline_ns, err)
			: vmm_spawn(B.ops, &B.probe, c, B.loop, deadline_ns, &m->vmm, err);
	if (r == 0 && B.ops == &vmm_fake)
		m->body = fake_body(m->vmm);
	close(agent[1]);
	close(console[1]);
	if (r < 0) {
		close(agent[0]);
		close(console[0]);
		return r;
	}
	m->agent_fd = agent[0];
	m->console_fd = console[0];
	assert_int_equal(
		loop_add_fd(B.loop, m->console_fd, EPOLLIN, on_console, m, &m->console_source), 0);
	vmm_on_ended(m->vmm, on_ended, m);
	return 0;
}

void drop(struct machine *m)
{
	if (!m->vmm)
		return;
	vmm_free(m->vmm);
	loop_source_free(m->console_source);
	close(m->agent_fd);
	close(m->console_fd);
	*m = (struct machine){ 0 };
}

void nothing_is_left_running(void)
{
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

void ok(int r, const struct mvm_error *err)
{
	if (r < 0)
		fail_msg("%s", err->text);
}

struct line {
	int fd;
	size_t len;
	char text[ANSWER_MAX];
	bool done;
};

static void on_agent(void *arg, uint32_t events)
{
	struct line *l = arg;
	(void)events;
	if (l->done || read(l->fd, l->text + l->len, 1) != 1 || l->text[l->len] == '\n' ||
	    l->len + 2 == sizeof(l->text)) {
		l->text[l->len] = '\0';
		l->done = true;
		return;
	}
	l->len++;
}

/* Read the next line from the guest.  Returns 0 or -ETIMEDOUT. */
int hear(struct machine *m, int64_t deadline_ns, char ret[ANSWER_MAX])
{
	struct line l = { .fd = m->agent_fd };
	struct loop_source *source = NULL;
	assert_int_equal(loop_add_fd(B.loop, m->agent_fd, EPOLLIN, on_agent, &l, &source), 0);
	int r = 0;
	while (!l.done && r == 0)
		r = loop_run_once(B.loop, deadline_ns);
	loop_source_free(source);
	memcpy(ret, l.text, sizeof(l.text));
	return r;
}

void tell(struct machine *m, const char *line)
{
	assert_int_equal(file_write_all(m->agent_fd, line, strlen(line)), 0);
}

void ask(struct machine *m, const char *line, char ret[ANSWER_MAX])
{
	tell(m, line);
	if (hear(m, soon(), ret) < 0)
		fail_msg("no answer to %s; console: %s", line, m->console);
}

void expect(struct machine *m, const char *line, const char *answer)
{
	char got[ANSWER_MAX];
	ask(m, line, got);
	assert_string_equal(got, answer);
}

void start_clone(struct machine *m)
{
	struct mvm_error err;
	struct vmm_config c = config_of(VMM_MEMORY_CLONE);
	ok(spawn(m, &c, soon(), &err), &err);
	ok(vmm_restore(m->vmm, B.snap_fd, soon(), &err), &err);
	assert_int_equal(m->vmm->state, VMM_RUNNING);
	assert_true(m->vmm->spawned_ns > 0 && m->vmm->loaded_ns >= m->vmm->spawned_ns &&
		    m->vmm->resumed_ns >= m->vmm->loaded_ns);
}

void digest_memory(struct mvm_digest *ret)
{
	AUTO_CLOSE int fd = openat(B.snap_fd, "mem.bin", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_true(sha256_fd(fd, NULL, ret, NULL) >= 0);
}

static int new_file(int dir_fd, const char *name)
{
	return openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
}

int64_t keep(struct machine *m, const char *folder, struct mvm_error *err)
{
	AUTO_CLOSE int dir_fd = dir_make_at(B.dir_fd, folder);
	/* as the warden has it: the VMM's end can only write, ours only read */
	AUTO_CLOSE int devices_fd = openat(dir_fd, "devices.bin",
					   O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	AUTO_CLOSE int raw_fd = openat(dir_fd, "devices.bin", O_RDONLY | O_CLOEXEC);
	AUTO_CLOSE int pages_fd = new_file(dir_fd, "pages.bin");
	AUTO_CLOSE int state_fd = new_file(dir_fd, "vmstate.bin");
	AUTO_CLOSE int base_fd = openat(B.snap_fd, "vmstate.bin", O_RDONLY | O_CLOEXEC);
	assert_true(devices_fd >= 0 && raw_fd >= 0 && pages_fd >= 0 && state_fd >= 0 &&
		    base_fd >= 0);
	int r = vmm_save_devices(m->vmm, devices_fd, soon(), err);
	int64_t n = r < 0 ? r : B.ops->save_pages(m->body, pages_fd, err);
	r = n < 0 ? (int)n : B.ops->finish_state(m->body, base_fd, raw_fd, state_fd, err);
	return r < 0 ? r : n;
}

int go_on_from(struct machine *m, const char *folder, struct mvm_error *err)
{
	struct vmm_config c = config_of(VMM_MEMORY_CLONE);
	AUTO_CLOSE int dir_fd = dir_open_at(B.dir_fd, folder);
	AUTO_CLOSE int pages_fd = openat(dir_fd, "pages.bin", O_RDONLY | O_CLOEXEC);
	assert_true(pages_fd >= 0);
	int r = spawn(m, &c, soon(), err);
	if (r == 0)
		r = vmm_map_memory(m->vmm, dir_fd, soon(), err);
	if (r == 0)
		r = B.ops->load_pages(m->body, pages_fd, err);
	return r < 0 ? r : vmm_restore(m->vmm, dir_fd, soon(), err);
}

static const char *copy_guest(const char *from)
{
	static const char *const names[] = { "vmlinux", "initrd", "rootfs.ext4" };
	AUTO_CLOSE int dir_fd = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(names); i++) {
		AUTO_CLOSE int in = openat(dir_fd, names[i], O_RDONLY | O_CLOEXEC);
		AUTO_CLOSE int out = openat(B.dir_fd, names[i],
					    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
					    0444); /* as in a revision */
		if (in < 0 || out < 0 || file_copy_fd(in, out) < 0)
			return "MVM_TEST_GUEST_DIR holds no guest";
	}
	return NULL;
}

/* Make the guest's files: any files for the fake, those of the kernel package for the others. */
static const char *make_guest(void)
{
	if (B.ops == &vmm_fake) {
		assert_int_equal(file_create_at(B.dir_fd, "vmlinux", "k", 1, 0600), 0);
		return NULL;
	}
	const char *deb = getenv("MVM_TEST_KERNEL_DEB"), *dir = getenv("MVM_TEST_CONTRACT_DIR");
	const char *vsock_guest = getenv("MVM_TEST_VSOCK_GUEST");
	if (getenv("MVM_TEST_GUEST_DIR"))
		return copy_guest(getenv("MVM_TEST_GUEST_DIR"));
	if (!deb || !dir || !vsock_guest)
		return "MVM_TEST_KERNEL_DEB names no kernel package";
	AUTO_FREE char *script = str_printf("%s/make_guest.py", dir);
	struct process_spec spec = {
		.argv = (char *[]){ (char[]){ "python3" }, script, (char *)deb, B.folder,
				    (char *)vsock_guest, NULL },
		.cwd_fd = AT_FDCWD,
		.stdin_fd = -1,
		.stdout_fd = -1,
		.stderr_fd = STDERR_FILENO,
	};
	struct process p;
	int status = -1;
	if (process_spawn(&spec, &p) < 0)
		return "there is no python3";
	assert_int_equal(process_wait(&p, soon(), &status), 0);
	return status == 0 ? NULL : "make_guest.py failed";
}

int set_up(void **state)
{
	(void)state;
	struct mvm_error err;
	snprintf(B.folder, sizeof(B.folder), "/tmp/mvm-contract.XXXXXX");
	assert_non_null(mkdtemp(B.folder));
	B.dir_fd = open(B.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	B.snap_fd = dir_make_at(B.dir_fd, "snapshot");
	assert_true(B.dir_fd >= 0 && B.snap_fd >= 0);
	assert_int_equal(loop_new(&B.loop), 0);
	ok(vmm_backend_probe(B.ops, -1, NULL, &B.probe, &err), &err);
	B.skip = B.probe.usable ? make_guest() : B.probe.reason;
	if (B.skip)
		return 0;
	struct vmm_config c = config_of(VMM_MEMORY_PRIVATE);
	ok(B.ops->cmdline(&B.probe, &c, NULL, &B.cmdline, &err), &err);
	return 0;
}

int tear_down(void **state)
{
	(void)state;
	loop_free(B.loop);
	vmm_probe_done(&B.probe);
	free(B.cmdline);
	close(B.snap_fd);
	close(B.dir_fd);
	/* /tmp may be a mount of its own, and a removal enters none */
	AUTO_CLOSE int parent_fd = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return tree_remove_at(parent_fd, strrchr(B.folder, '/') + 1);
}
