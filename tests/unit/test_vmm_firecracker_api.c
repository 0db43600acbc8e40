/* SPDX-License-Identifier: Apache-2.0 */
/* The Firecracker backend with a scripted peer: this program, started in Firecracker's place. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/sock.h"
#include "vmm/firecracker/firecracker.h"
#include "vmm/pages.h"

#include "scripted_firecracker.h"

static struct {
	char path[64];
	int dir_fd, snap_fd, agent_fd;
	int first_fd; /* the first channel, when there is another; else -1 */
	struct loop *loop;
	struct vmm *vmm;
	struct vmm_body *body; /* a clone's */
	bool takes_over;       /* the test takes the guest's connection over */
	char *binary;	       /* NULL: this program */
} T;

static int take_over(void *arg, int fd)
{
	(void)arg;
	if (fd < 0) {
		close(T.agent_fd);
		T.agent_fd = TAKE_FD(T.first_fd);
		return 0;
	}
	T.first_fd = T.agent_fd;
	T.agent_fd = fd;
	return 0;
}

/* vmm_spawn() by its two halves, so that there is the body. */
static int spawn_apart(const struct vmm_probe *probe, const struct vmm_config *c,
		       int64_t deadline_ns, struct mvm_error *err)
{
	struct vmm_ends ends = VMM_ENDS_NONE;
	int r = vmm_start(&vmm_firecracker, probe, c, T.loop, &T.body, &ends, err);
	if (r < 0)
		return r;
	const struct vmm_keeper keeper = vmm_keeper_of(T.body);
	return vmm_attach(&vmm_firecracker, c, &ends, &keeper, T.loop, deadline_ns, &T.vmm, err);
}

static char old_release[] = "1.15.1", *release = old_release, format[] = "10.0.0",
	    self[] = "/proc/self/exe";

static int spawn(enum vmm_memory memory, int64_t deadline_ns, struct mvm_error *err)
{
	const struct vmm_probe probe = {
		.usable = true,
		.binary = T.binary ? T.binary : self,
		.version = release,
		.state_format = format,
	};
	int pair[2];
	assert_int_equal(sock_pair(pair), 0);
	struct vmm_config c = {
		.name = "web",
		.vcpus = 1,
		.mem_mib = 1,
		.dir_fd = T.dir_fd,
		.kernel = "vmlinux",
		.cmdline = "quiet",
		.drives = { { .name = "rootfs.ext4", .read_only = true } },
		.n_drives = 1,
		.memory = memory,
		.memory_dir_fd = T.snap_fd,
		.memory_name = "mem.bin",
		.work_fd = T.dir_fd,
		.agent_fd = pair[1],
		.on_agent = T.takes_over ? take_over : NULL,
		.console_fd = pair[1],
		.log_fd = -1,
	};
	int r = memory == VMM_MEMORY_CLONE
			? spawn_apart(&probe, &c, deadline_ns, err)
			: vmm_spawn(&vmm_firecracker, &probe, &c, T.loop, deadline_ns, &T.vmm, err);
	close(pair[1]);
	T.agent_fd = pair[0];
	return r;
}

static void drop(void)
{
	vmm_free(TAKE_PTR(T.vmm));
	if (T.agent_fd >= 0)
		close(TAKE_FD(T.agent_fd));
	if (T.first_fd >= 0)
		close(TAKE_FD(T.first_fd));
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

static int64_t soon(void)
{
	return clock_deadline_ns(60000);
}

static void assert_no_folder_is_left(void)
{
	AUTO_DONE(strv) names = { 0 };
	assert_int_equal(dir_list(T.dir_fd, &names), 0);
	for (size_t i = 0; i < names.n; i++)
		assert_false(str_starts(names.v[i], "firecracker-"));
}

/* Has Firecracker the host's files? */
static bool has_files(void)
{
	AUTO_FREE char *path = str_printf("/proc/%d/root/proc", (int)T.vmm->process.pid);
	return access(path, F_OK) == 0;
}

/* Boot and capture, up to the first failure. */
static int capture(struct mvm_error *err)
{
	int r = spawn(VMM_MEMORY_CAPTURE, soon(), err);
	if (r == 0)
		r = vmm_boot(T.vmm, soon(), err);
	if (r == 0)
		assert_int_equal(has_files(), fc_walls_namespaces() == 0);
	if (r == 0)
		r = vmm_pause(T.vmm, soon(), err);
	return r < 0 ? r : vmm_snapshot(T.vmm, T.snap_fd, soon(), err);
}

static int restore(struct mvm_error *err)
{
	int r = spawn(VMM_MEMORY_CLONE, soon(), err);
	return r < 0 ? r : vmm_restore(T.vmm, T.snap_fd, soon(), err);
}

static void remove_snapshot(void)
{
	unlinkat(T.snap_fd, "mem.bin", 0); /* may be missing */
	unlinkat(T.snap_fd, FC_STATE_FILE, 0);
}

static void a_machine_is_captured_and_cloned(void **state)
{
	(void)state;
	static const struct {
		const char *peer;
		bool takes_over;
	} cases[] = { { "", false }, { "late", false }, { "", true } };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		struct mvm_error err = { 0 };
		struct stat st;
		char got[8];
		T.takes_over = cases[i].takes_over;
		assert_int_equal(setenv("PEER", cases[i].peer, 1), 0);
		if (capture(&err) < 0)
			fail_msg("%s", err.text);
		assert_int_equal(fstatat(T.snap_fd, "mem.bin", &st, 0), 0);
		assert_int_equal(st.st_size, 1 << 20);
		assert_int_equal(st.st_mode & 0777, 0644);
		assert_int_equal(fstatat(T.snap_fd, FC_STATE_FILE, &st, 0), 0);
		assert_int_equal(st.st_size, 20);
		while (recv(T.agent_fd, got, sizeof(got), MSG_DONTWAIT) < 0)
			assert_int_equal(loop_run_once(T.loop, soon()), 0);
		assert_memory_equal(got, "hi", 2);
		/* a capture never replaces an older one */
		assert_int_equal(vmm_snapshot(T.vmm, T.snap_fd, soon(), &err), -EEXIST);
		drop();
		if (restore(&err) < 0)
			fail_msg("%s", err.text);
		assert_int_equal(T.vmm->state, VMM_RUNNING);
		assert_int_equal(has_files(), fc_walls_namespaces() == 0);
		drop();
		assert_no_folder_is_left();
		remove_snapshot();
	}
	T.takes_over = false;
}

static void every_failure_repeats_firecrackers_message(void **state)
{
	(void)state;
	static const struct {
		const char *peer;
		int code;
		const char *says;
	} cases[] = {
		{ "end", -EREMOTEIO, "VM 'web': Firecracker ended with status 3: it went wrong" },
		{ "refuse /machine-config", -EREMOTEIO,
		  "VM 'web': Firecracker refused PUT /machine-config: not today" },
		{ "refuse /boot-source", -EREMOTEIO,
		  "VM 'web': Firecracker refused PUT /boot-source: not today" },
		{ "refuse /drives/drive0", -EREMOTEIO,
		  "VM 'web': Firecracker refused PUT /drives/drive0: not today" },
		{ "refuse /vsock", -EREMOTEIO,
		  "VM 'web': Firecracker refused PUT /vsock: not today" },
		{ "refuse /entropy", -EREMOTEIO,
		  "VM 'web': Firecracker refused PUT /entropy: not today" },
		{ "refuse /actions", -EREMOTEIO,
		  "VM 'web': Firecracker refused PUT /actions: not today" },
		{ "refuse /vm", -EREMOTEIO, "VM 'web': Firecracker refused PATCH /vm: not today" },
		{ "refuse /snapshot/create", -EREMOTEIO,
		  "VM 'web': Firecracker refused PUT /snapshot/create: not today" },
		{ "no-reason /actions", -EREMOTEIO,
		  "VM 'web': Firecracker refused PUT /actions with status 500 and no reason" },
		{ "garbage /vsock", -EPROTO,
		  "VM 'web': PUT /vsock: Firecracker broke the protocol: the answer does not begin "
		  "as HTTP does" },
		{ "die /actions", -EREMOTEIO,
		  "VM 'web': PUT /actions: Firecracker ended with status 5: it went wrong" },
		{ "die /snapshot/create", -EREMOTEIO,
		  "VM 'web': PUT /snapshot/create: Firecracker ended with status 5: it went "
		  "wrong" },
		{ "bad-state /snapshot/create", -EBADMSG,
		  "VM 'web': 'vmstate.bin' is damaged: its checksum is wrong" },
		{ "no-state /snapshot/create", -ENOENT,
		  "VM 'web': cannot read 'vmstate.bin': No such file or directory" },
		{ "link-state /snapshot/create", -ELOOP,
		  "VM 'web': cannot read 'vmstate.bin': Too many levels of symbolic links" },
		{ "other-format", -EPROTO,
		  "VM 'web': the snapshot's format is not Firecracker's '10.0.0' but 'v9.9.9'" },
	};
	assert_int_equal(setenv("MVM_ISOLATION", "off", 1),
			 0); /* from here on: PEER is passed on */
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		struct mvm_error err = { 0 };
		assert_int_equal(setenv("PEER", cases[i].peer, 1), 0);
		int r = capture(&err);
		bool spawned = T.vmm;
		assert_string_equal(err.text, cases[i].says);
		assert_int_equal(r, cases[i].code);
		drop();
		assert_no_folder_is_left();
		/* a capture that did not start leaves no memory, and a failed one no state */
		assert_int_equal(faccessat(T.snap_fd, "mem.bin", F_OK, 0), spawned ? 0 : -1);
		assert_int_equal(faccessat(T.snap_fd, FC_STATE_FILE, F_OK, 0), -1);
		remove_snapshot();
	}
}

static void a_failed_clone_repeats_firecrackers_message(void **state)
{
	(void)state;
	static const struct {
		const char *peer;
		int code;
		const char *says;
	} cases[] = {
		{ "refuse /snapshot/load", -EREMOTEIO,
		  "VM 'web': Firecracker refused PUT /snapshot/load: not today" },
		{ "die /snapshot/load", -EREMOTEIO,
		  "VM 'web': PUT /snapshot/load: Firecracker ended with status 5: it went wrong" },
	};
	struct mvm_error err = { 0 };
	assert_int_equal(setenv("PEER", "", 1), 0);
	assert_int_equal(capture(&err), 0);
	drop();
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		assert_int_equal(setenv("PEER", cases[i].peer, 1), 0);
		int r = restore(&err);
		assert_string_equal(err.text, cases[i].says);
		assert_int_equal(r, cases[i].code);
		drop();
		assert_no_folder_is_left();
	}
	remove_snapshot();
}

/* Wait for the agent's words. */
static void hear(const char *words)
{
	char got[64] = "";
	for (size_t len = 0; len < strlen(words);) {
		ssize_t n = recv(T.agent_fd, got + len, sizeof(got) - 1 - len, MSG_DONTWAIT);
		if (n < 0)
			assert_int_equal(loop_run_once(T.loop, soon()), 0);
		len += n < 0 ? 0 : (size_t)n;
	}
	assert_string_equal(got, words);
}

/* The files of a clone that is kept. */
struct kept {
	int pages_fd, state_dir_fd;
};

static struct kept keep(void)
{
	struct mvm_error err = { 0 };
	struct kept k = {
		.pages_fd = openat(T.dir_fd, "pages.bin", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC,
				   0600),
		.state_dir_fd = dir_make_at(T.dir_fd, "kept"),
	};
	if (vmm_save_devices(T.vmm, -1, soon(), &err) < 0)
		fail_msg("%s", err.text);
	if (vmm_firecracker.save_pages(T.body, k.pages_fd, &err) != 1)
		fail_msg("%s", err.text);
	AUTO_CLOSE int fd = openat(k.state_dir_fd, FC_STATE_FILE,
				   O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (vmm_firecracker.finish_state(T.body, -1, -1, fd, &err) < 0)
		fail_msg("%s", err.text);
	return k;
}

/* Forget a clone that was kept; returns what it has counted. */
static char forget(struct kept *k)
{
	char counted = 0;
	assert_int_equal(pread(k->pages_fd, &counted, 1, PAGES_SIZE), 1); /* after its map */
	close(k->pages_fd);
	close(k->state_dir_fd);
	assert_int_equal(tree_remove_at(T.dir_fd, "kept"), 0);
	assert_int_equal(unlinkat(T.dir_fd, "pages.bin", 0), 0);
	return counted;
}

static void a_clone_is_kept_and_goes_on_here_and_elsewhere(void **state)
{
	(void)state;
	static char with_signals[] = "1.16.1";
	struct mvm_error err = { 0 };
	assert_int_equal(setenv("PEER", "", 1), 0);
	assert_int_equal(capture(&err), 0);
	drop();
	for (int i = 0; i < 4; i++) {
		T.takes_over = i & 1;
		release = i & 2 ? with_signals : old_release;
		assert_int_equal(restore(&err), 0);
		hear("hi");
		assert_int_equal(vmm_pause(T.vmm, soon(), &err), 0);
		struct kept k = keep();
		/* the agent dials again, and gets what was sent before */
		assert_int_equal(send(T.agent_fd, "thaw", 4, MSG_NOSIGNAL), 4);
		if (vmm_resume(T.vmm, soon(), &err) < 0)
			fail_msg("%s", err.text);
		hear("thaw");
		drop();
		/* elsewhere, from the pause on */
		assert_int_equal(spawn(VMM_MEMORY_CLONE, soon(), &err), 0);
		if (vmm_map_memory(T.vmm, k.state_dir_fd, soon(), &err) < 0)
			fail_msg("%s", err.text);
		assert_int_equal(T.vmm->state, VMM_SPAWNED);
		assert_int_equal(vmm_firecracker.load_pages(T.body, k.pages_fd, &err), 0);
		assert_int_equal(vmm_restore(T.vmm, k.state_dir_fd, soon(), &err), 0);
		assert_int_equal(forget(&k), 1);
		assert_int_equal(vmm_pause(T.vmm, soon(), &err), 0);
		k = keep();
		assert_int_equal(forget(&k), 3);
		drop();
		assert_no_folder_is_left();
	}
	release = old_release;
	T.takes_over = false;
	remove_snapshot();
}

static void a_clone_that_cannot_be_kept_goes_on(void **state)
{
	(void)state;
	struct mvm_error err = { 0 };
	assert_int_equal(setenv("PEER", "", 1), 0);
	assert_int_equal(capture(&err), 0);
	drop();
	assert_int_equal(setenv("PEER", "refuse /snapshot/create", 1), 0);
	assert_int_equal(restore(&err), 0);
	hear("hi");
	assert_int_equal(vmm_pause(T.vmm, soon(), &err), 0);
	assert_int_equal(vmm_save_devices(T.vmm, -1, soon(), &err), -EREMOTEIO);
	assert_string_equal(err.text,
			    "VM 'web': Firecracker refused PUT /snapshot/create: not today");
	assert_int_equal(send(T.agent_fd, "thaw", 4, MSG_NOSIGNAL), 4);
	assert_int_equal(vmm_resume(T.vmm, soon(), &err), 0);
	hear("thaw");
	drop();
	remove_snapshot();
}

/* The short deadline begins after an answer, so the peer is known to be up. */
static void silence_ends_with_the_deadline(void **state)
{
	(void)state;
	struct mvm_error err = { 0 };
	assert_int_equal(setenv("PEER", "sleep", 1), 0);
	assert_int_equal(spawn(VMM_MEMORY_PRIVATE, clock_deadline_ns(300), &err), -ETIMEDOUT);
	assert_string_equal(err.text, "VM 'web': Firecracker did not open its API in time");
	drop();
	assert_no_folder_is_left();

	assert_int_equal(setenv("PEER", "mute /vm", 1), 0);
	if (spawn(VMM_MEMORY_PRIVATE, soon(), &err) < 0 || vmm_boot(T.vmm, soon(), &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(vmm_pause(T.vmm, clock_deadline_ns(300), &err), -ETIMEDOUT);
	assert_string_equal(err.text, "VM 'web': PATCH /vm: Firecracker did not answer in time");
	drop();
	assert_no_folder_is_left();
}

/* It would stand still in a VM that runs for everybody. */
static void a_firecracker_that_pauses_too_late_goes_on(void **state)
{
	(void)state;
	struct mvm_error err = { 0 };
	assert_int_equal(setenv("PEER", "late-answer /vm", 1), 0);
	if (spawn(VMM_MEMORY_PRIVATE, soon(), &err) < 0 || vmm_boot(T.vmm, soon(), &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(vmm_pause(T.vmm, clock_deadline_ns(300), &err), -ETIMEDOUT);
	while (T.vmm->state != VMM_ENDED)
		assert_int_equal(loop_run_once(T.loop, soon()), 0);
	assert_int_equal(WEXITSTATUS(T.vmm->exit_status), 7);
	drop();
}

/* The jailer of this test prints the folders that it gets, and fails. */
static void a_jail_is_given_no_folder_of_the_hosts(void **state)
{
	(void)state;
	static const Elf64_Ehdr program = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64 },
		.e_phentsize = sizeof(Elf64_Phdr), /* a static program needs no program header */
	};
	static const char script[] = "#!/bin/sh\n"
				     "for fd in 3 4 5; do readlink /proc/$$/fd/$fd; done >&2\n"
				     "exit 3\n";
	struct mvm_error err = { 0 };
	AUTO_FREE char *binary = str_printf("%s/program", T.path);
	AUTO_FREE char *jailer = str_printf("%s/jailer", T.path);
	assert_int_equal(file_create_at(T.dir_fd, "program", &program, sizeof(program), 0755), 0);
	assert_int_equal(file_create_at(T.dir_fd, "jailer", script, sizeof(script) - 1, 0755), 0);
	if (fc_jail_obstacle(binary, T.dir_fd)) {
		print_message("skipped: %s\n", fc_jail_obstacle(binary, T.dir_fd));
		skip();
	}
	assert_int_equal(setenv(FC_JAILER_ENV, jailer, 1), 0);
	T.binary = binary;
	int r = spawn(VMM_MEMORY_PRIVATE, soon(), &err);
	T.binary = NULL;
	assert_int_equal(setenv(FC_JAILER_ENV, "none", 1), 0);
	assert_string_equal(err.text, "VM 'web': Firecracker ended with status 3");
	assert_int_equal(r, -EREMOTEIO);
	drop();
	assert_no_folder_is_left();
}

static void network_is_refused_with_a_message(void **state)
{
	(void)state;
	if (!vmm_network_obstacle(&vmm_firecracker))
		skip(); /* root has a network on a host that forwards packets */
	static const struct vmm_probe probe = { .usable = true };
	struct vmm_config c = { .name = "web", .network = true };
	struct mvm_error err = { 0 };
	assert_int_equal(vmm_spawn(&vmm_firecracker, &probe, &c, T.loop, soon(), &T.vmm, &err),
			 -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "VM 'web': no network on backend firecracker: its network "
					 "needs"));
}

static void a_probe_returns_versions_or_a_reason(void **state)
{
	(void)state;
	static const struct {
		const char *accel, *binary, *version, *reason;
	} cases[] = {
		{ "kvm", self, "Firecracker v1.13.0\n", NULL },
		{ "kvm", self, "Firecracker v1.12.1\n",
		  "Firecracker 1.12.1 is too old: 1.13 or newer is needed" },
		{ "kvm", self, "QEMU emulator version 7", "--version says 'QEMU emulator version" },
		{ "tcg", self, "Firecracker v1.13.0\n",
		  "Firecracker needs KVM: MVM_ACCEL says so" },
		{ "kvm", "/nonexistent", "", "MVM_FIRECRACKER names '/nonexistent': No such file" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(vmm_probe) p = { 0 };
		struct mvm_error err;
		assert_int_equal(setenv("MVM_ACCEL", cases[i].accel, 1), 0);
		assert_int_equal(setenv(FC_BINARY_ENV, cases[i].binary, 1), 0);
		assert_int_equal(setenv("PEER_VERSION", cases[i].version, 1), 0);
		assert_int_equal(vmm_backend_probe(&vmm_firecracker, -1, NULL, &p, &err), 0);
		assert_int_equal(p.usable, !cases[i].reason);
		if (cases[i].reason)
			assert_non_null(strstr(p.reason, cases[i].reason));
		else
			assert_string_equal(p.version, "1.13.0");
	}
}

static void both_versions_are_kept_with_the_probe(void **state)
{
	(void)state;
	assert_int_equal(setenv("MVM_ACCEL", "kvm", 1), 0);
	assert_int_equal(setenv(FC_BINARY_ENV, self, 1), 0);
	assert_int_equal(setenv("PEER_VERSION", "Firecracker v1.14.0", 1), 0);
	for (int i = 0; i < 2; i++) {
		AUTO_DONE(vmm_probe) p = { 0 };
		struct mvm_error err;
		assert_int_equal(vmm_backend_probe(&vmm_firecracker, T.snap_fd, NULL, &p, &err), 0);
		assert_string_equal(p.version, "1.14.0");
		assert_string_equal(p.state_format, "10.0.0");
		/* the second time no request is sent */
		assert_int_equal(setenv("PEER_VERSION", "", 1), 0);
	}
	assert_int_equal(unlinkat(T.snap_fd, "firecracker.json", 0), 0);
}

static void root_must_allow_a_firecracker_without_a_jail(void **state)
{
	(void)state;
	struct mvm_error err = { 0 };
	if (geteuid() != 0)
		skip(); /* it runs as this user anyway */
	assert_int_equal(setenv("MVM_ACCEL", "kvm", 1), 0);
	assert_int_equal(setenv(FC_BINARY_ENV, self, 1), 0);
	assert_int_equal(setenv("PEER_VERSION", "Firecracker v1.14.0", 1), 0);
	for (int i = 0; i < 3; i++) { /* the second time the versions are those that were kept */
		AUTO_DONE(vmm_probe) p = { 0 };
		if (i == 2)
			assert_int_equal(setenv(FC_JAILER_ENV, "none", 1), 0);
		else
			assert_int_equal(unsetenv(FC_JAILER_ENV), 0);
		assert_int_equal(vmm_backend_probe(&vmm_firecracker, T.snap_fd, NULL, &p, &err), 0);
		assert_string_equal(p.version, "1.14.0");
		assert_int_equal(p.usable, i == 2);
		if (i < 2)
			assert_non_null(strstr(p.reason, "would run as root"));
	}
	assert_int_equal(unsetenv(FC_JAILER_ENV), 0);
	assert_int_equal(spawn(VMM_MEMORY_PRIVATE, soon(), &err), -EOPNOTSUPP);
	assert_string_equal(err.text, "VM 'web': Firecracker would run as root: there is no jailer "
				      "beside it (MVM_JAILER=none allows it)");
	drop();
	assert_no_folder_is_left();
	assert_int_equal(setenv(FC_JAILER_ENV, "none", 1), 0);
	assert_int_equal(unlinkat(T.snap_fd, "firecracker.json", 0), 0);
}

static int set_up(void **state)
{
	(void)state;
	/* the peer is a program of this machine's, which no jail holds */
	assert_int_equal(setenv(FC_JAILER_ENV, "none", 1), 0);
	snprintf(T.path, sizeof(T.path), "/tmp/mvm-firecracker.XXXXXX");
	assert_non_null(mkdtemp(T.path));
	T.agent_fd = T.first_fd = -1;
	T.dir_fd = open(T.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	T.snap_fd = dir_make_at(T.dir_fd, "snapshot");
	assert_true(T.snap_fd >= 0);
	return loop_new(&T.loop);
}

static int tear_down(void **state)
{
	(void)state;
	vmm_free(TAKE_PTR(T.vmm));
	loop_free(T.loop);
	close(T.snap_fd);
	close(T.dir_fd);
	return tree_remove_at(AT_FDCWD, T.path);
}

int main(int argc, char **argv)
{
	scripted_firecracker_run(argc, argv);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_machine_is_captured_and_cloned),
		cmocka_unit_test(every_failure_repeats_firecrackers_message),
		cmocka_unit_test(a_failed_clone_repeats_firecrackers_message),
		cmocka_unit_test(a_clone_is_kept_and_goes_on_here_and_elsewhere),
		cmocka_unit_test(a_clone_that_cannot_be_kept_goes_on),
		cmocka_unit_test(silence_ends_with_the_deadline),
		cmocka_unit_test(a_firecracker_that_pauses_too_late_goes_on),
		cmocka_unit_test(a_jail_is_given_no_folder_of_the_hosts),
		cmocka_unit_test(network_is_refused_with_a_message),
		cmocka_unit_test(a_probe_returns_versions_or_a_reason),
		cmocka_unit_test(both_versions_are_kept_with_the_probe),
		cmocka_unit_test(root_must_allow_a_firecracker_without_a_jail),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
