/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every backend must do, run on the fake one and, where there is a kernel package
 * (MVM_TEST_KERNEL_DEB) and the backend's program, on each real one with a real guest.
 * The tests of a backend run in order and share one boot: later ones clone what earlier ones made.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "kept.h"
#include "subject.h"
#include "vmm/lend.h"

static struct machine origin; /* booted by the first test, captured by a later one */

static int drop_origin(void **state)
{
	(void)state;
	drop(&origin);
	return 0;
}

static void a_machine_boots_and_answers(void **state)
{
	(void)state;
	need_backend();
	struct mvm_error err;
	char line[ANSWER_MAX];
	struct vmm_config c = config_of(VMM_MEMORY_CAPTURE);
	ok(spawn(&origin, &c, soon(), &err), &err);
	assert_int_equal(origin.vmm->state, VMM_SPAWNED);
	ok(vmm_boot(origin.vmm, soon(), &err), &err);
	assert_int_equal(origin.vmm->state, VMM_RUNNING);
	if (hear(&origin, soon(), line) < 0)
		fail_msg("the guest is silent; console: %s", origin.console);
	assert_string_equal(line, "hello");
	ask(&origin, "nonce\n", B.nonce);
	expect(&origin, "count\n", "count 1");
	expect(&origin, "disk\n", "disk MVMDISK");
}

static void calls_that_do_not_fit_the_state_are_refused(void **state)
{
	(void)state;
	need_backend();
	struct mvm_error err;
	assert_int_equal(vmm_boot(origin.vmm, soon(), &err), -EBUSY);
	assert_int_equal(vmm_resume(origin.vmm, soon(), &err), -EBUSY);
	assert_int_equal(vmm_restore(origin.vmm, B.snap_fd, soon(), &err), -EBUSY);
	assert_int_equal(vmm_snapshot(origin.vmm, B.snap_fd, soon(), &err), -EBUSY);
	assert_string_equal(err.text, "VM 'subject' is running");
}

static void a_paused_machine_is_captured(void **state)
{
	(void)state;
	need_backend();
	struct mvm_error err;
	struct stat st;
	ok(vmm_pause(origin.vmm, soon(), &err), &err);
	/* its memory is in no snapshot, so its state cannot be kept */
	assert_int_equal(vmm_save_devices(origin.vmm, B.dir_fd, soon(), &err), -EOPNOTSUPP);
	ok(vmm_snapshot(origin.vmm, B.snap_fd, soon(), &err), &err);
	assert_int_equal(fstatat(B.snap_fd, "vmstate.bin", &st, 0), 0);
	assert_true(st.st_size > 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(fstatat(B.snap_fd, "mem.bin", &st, 0), 0);
	assert_int_equal(st.st_mode & 0733, 0600);
	assert_int_equal(st.st_uid, geteuid());
	/* a capture never replaces an older one */
	assert_int_equal(vmm_snapshot(origin.vmm, B.snap_fd, soon(), &err), -EEXIST);
	drop(&origin);
	nothing_is_left_running();
}

static void a_clone_has_data_that_was_only_in_memory(void **state)
{
	(void)state;
	need_backend();
	struct machine m;
	struct mvm_error err;
	start_clone(&m);
	expect(&m, "nonce\n", B.nonce);
	expect(&m, "count\n", "count 2");
	ok(vmm_pause(m.vmm, soon(), &err), &err);
	ok(vmm_resume(m.vmm, soon(), &err), &err);
	expect(&m, "count\n", "count 3");
	expect(&m, "disk\n", "disk MVMDISK");
	/* a clone's memory is private: it cannot be captured in turn */
	ok(vmm_pause(m.vmm, soon(), &err), &err);
	assert_int_equal(vmm_snapshot(m.vmm, B.dir_fd, soon(), &err), -EBUSY);
	drop(&m);
	nothing_is_left_running();
}

static void pause_stops_the_guest_and_resume_continues_it(void **state)
{
	(void)state;
	need_backend();
	struct machine m;
	struct mvm_error err;
	char line[ANSWER_MAX];
	start_clone(&m);
	expect(&m, "count\n", "count 2");
	ok(vmm_pause(m.vmm, soon(), &err), &err);
	assert_int_equal(m.vmm->state, VMM_PAUSED);
	tell(&m, "count\n");
	assert_int_equal(hear(&m, clock_deadline_ns(200), line), -ETIMEDOUT);
	int64_t before_ns = clock_now_ns();
	ok(vmm_resume(m.vmm, soon(), &err), &err);
	assert_true(m.vmm->resumed_ns >= before_ns);
	assert_int_equal(hear(&m, soon(), line), 0);
	assert_string_equal(line, "count 3");
	/* a paused machine can be ended */
	ok(vmm_pause(m.vmm, soon(), &err), &err);
	drop(&m);
	nothing_is_left_running();
}

static void clones_share_nothing_that_they_write(void **state)
{
	(void)state;
	need_backend();
	struct mvm_digest before, after;
	struct machine a, b;
	digest_memory(&before);
	start_clone(&a);
	start_clone(&b);
	expect(&a, "count\n", "count 2");
	expect(&a, "count\n", "count 3");
	expect(&b, "count\n", "count 2");
	drop(&a);
	expect(&b, "count\n", "count 3");
	drop(&b);
	digest_memory(&after);
	assert_true(digest_equal(&before, &after));
	nothing_is_left_running();
}

/* The number of a descriptor by which the process can write to the file; -1: none. */
static int writable_in(pid_t pid, const struct stat *file)
{
	char path[64];
	const struct dirent *e;
	int found = -1;
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	AUTO_CLOSEDIR DIR *dir = opendir(path);
	assert_non_null(dir);
	while (found < 0 && (e = readdir(dir))) {
		struct stat st, link;
		if (fstatat(dirfd(dir), e->d_name, &st, 0) == 0 && st.st_ino == file->st_ino &&
		    st.st_dev == file->st_dev &&
		    fstatat(dirfd(dir), e->d_name, &link, AT_SYMLINK_NOFOLLOW) == 0 &&
		    (link.st_mode & S_IWUSR))	 /* proc(5): as the descriptor was opened */
			found = atoi(e->d_name); /* NOLINT: the kernel's own number */
	}
	return found;
}

static void no_clone_can_write_the_memory_that_it_shares(void **state)
{
	(void)state;
	need_backend();
	struct machine m;
	struct stat memory;
	if (!B.ops->binary) {
		print_message("skipped: it is this program, which has all files open\n");
		skip();
	}
	if (!lend_is_possible()) {
		print_message("skipped: this host cannot lend a file\n");
		skip();
	}
	start_clone(&m);
	assert_int_equal(fstatat(B.snap_fd, "mem.bin", &memory, 0), 0);
	assert_int_equal(writable_in(m.vmm->process.pid, &memory), -1);
	expect(&m, "count\n", "count 2"); /* it writes the count to its own copy */
	drop(&m);
	nothing_is_left_running();
}

static void memory_may_be_a_copy_that_is_unlinked_once_it_is_restored(void **state)
{
	(void)state;
	need_backend();
	struct machine m;
	struct mvm_error err;
	struct vmm_config c = config_of(VMM_MEMORY_CLONE);
	AUTO_CLOSE int from = openat(B.snap_fd, "mem.bin", O_RDONLY | O_CLOEXEC);
	AUTO_CLOSE int to = openat(B.dir_fd, "mem.bin", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
				   0644);
	assert_true(file_copy_fd(from, to) >= 0);
	c.memory_dir_fd = B.dir_fd;
	ok(spawn(&m, &c, soon(), &err), &err);
	ok(vmm_restore(m.vmm, B.snap_fd, soon(), &err), &err);
	assert_int_equal(unlinkat(B.dir_fd, "mem.bin", 0), 0);
	expect(&m, "nonce\n", B.nonce);
	expect(&m, "disk\n", "disk MVMDISK");
	drop(&m);
	nothing_is_left_running();
}

static void a_guest_may_power_itself_off(void **state)
{
	(void)state;
	need_backend();
	struct machine m;
	struct mvm_error err;
	start_clone(&m);
	tell(&m, "off\n");
	int r = 0;
	while (!m.ended && r == 0)
		r = loop_run_once(B.loop, soon());
	assert_int_equal(m.ended, 1);
	assert_int_equal(m.vmm->state, VMM_ENDED);
	if (!m.vmm->guest_stopped)
		fail_msg("it ended with wait status 0x%x; console: %s",
			 (unsigned)m.vmm->exit_status, m.console);
	assert_int_equal(vmm_pause(m.vmm, soon(), &err), -EREMOTEIO);
	drop(&m);
	nothing_is_left_running();
}

/* Each guest reacts in its own way: this one has no driver for QEMU's button, but its kernel has
 * one for a keyboard, and restarts. */
static void the_power_button_needs_a_running_guest(void **state)
{
	(void)state;
	need_backend();
	struct machine m;
	struct mvm_error err;
	bool can = B.ops->power_button;
	start_clone(&m);
	assert_int_equal(vmm_pause(m.vmm, soon(), &err), 0);
	assert_int_equal(vmm_power_button(m.vmm, soon(), &err), can ? -EBUSY : -EOPNOTSUPP);
	assert_int_equal(vmm_resume(m.vmm, soon(), &err), 0);
	assert_int_equal(vmm_power_button(m.vmm, soon(), &err), can ? 0 : -EOPNOTSUPP);
	int r = 0;
	while (str_eq(B.ops->name, "firecracker") && !m.ended && r == 0)
		r = loop_run_once(B.loop, soon());
	assert_int_equal(r, 0);
	assert_true(!m.ended || m.vmm->guest_stopped);
	drop(&m);
	nothing_is_left_running();
}

static void a_killed_vmm_is_reported(void **state)
{
	(void)state;
	need_backend();
	struct machine m;
	struct mvm_error err;
	start_clone(&m);
	assert_int_equal(kill(m.vmm->process.pid, SIGKILL), 0);
	int r = 0;
	while (!m.ended && r == 0)
		r = loop_run_once(B.loop, soon());
	assert_int_equal(m.ended, 1);
	assert_true(WIFSIGNALED(m.vmm->exit_status));
	assert_false(m.vmm->guest_stopped);
	assert_int_equal(vmm_pause(m.vmm, soon(), &err), -EREMOTEIO);
	assert_string_equal(err.text, "VM 'subject' has ended");
	drop(&m);
	nothing_is_left_running();
}

/* The machine has never run: the VMM forwards ports without its guest. */
static void a_port_can_be_forwarded_later(void **state)
{
	(void)state;
	need_backend();
	struct mvm_error err = { 0 };
	struct machine m;
	struct vmm_config c = config_of(VMM_MEMORY_PRIVATE);
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(addr);

	assert_int_equal(spawn(&m, &c, soon(), &err), 0);
	int taken = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(taken, (struct sockaddr *)&addr, len), 0);
	assert_int_equal(getsockname(taken, (struct sockaddr *)&addr, &len), 0);
	assert_int_equal(listen(taken, 1), 0);
	struct vmm_forward f = { .host_address = "127.0.0.1",
				 .host_port = ntohs(addr.sin_port),
				 .guest_port = 80 };
	int r = vmm_forward(m.vmm, &f, soon(), &err);
	bool can = B.ops->forward && c.network;
	assert_int_equal(r, can ? -EADDRINUSE : -EOPNOTSUPP);
	close(taken);
	if (can) {
		assert_int_equal(vmm_forward(m.vmm, &f, soon(), &err), 0);
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
		close(fd);
	}
	drop(&m);
	nothing_is_left_running();
}

static void damaged_device_state_fails_and_leaves_nothing(void **state)
{
	(void)state;
	need_backend();
	struct machine m;
	struct mvm_error err;
	struct vmm_config c = config_of(VMM_MEMORY_CLONE);
	AUTO_FREE char *text = NULL;
	size_t len = 0;
	assert_int_equal(file_read_at(B.snap_fd, "vmstate.bin", 64u << 20, &text, &len), 0);
	AUTO_CLOSE int cut_fd = dir_make_at(B.dir_fd, "cut");
	assert_true(cut_fd >= 0);
	assert_int_equal(file_create_at(cut_fd, "vmstate.bin", text, len / 2, 0600), 0);

	ok(spawn(&m, &c, soon(), &err), &err);
	int r = vmm_restore(m.vmm, cut_fd, soon(), &err);
	assert_true(r == -EREMOTEIO || r == -EBADMSG); /* the VMM noticed, or we did */
	assert_true(str_starts(err.text, "VM 'subject': "));
	print_message("truncated: %s\n", err.text);
	drop(&m);

	ok(spawn(&m, &c, soon(), &err), &err);
	assert_int_equal(vmm_restore(m.vmm, B.dir_fd, soon(), &err), -ENOENT);
	drop(&m);
	assert_int_equal(tree_remove_at(B.dir_fd, "cut"), 0);
	nothing_is_left_running();
}

static void a_missing_kernel_is_reported(void **state)
{
	(void)state;
	need_backend();
	struct machine m;
	struct mvm_error err;
	struct vmm_config c = config_of(VMM_MEMORY_PRIVATE);
	c.kernel = "no-such-kernel";
	int r = spawn(&m, &c, soon(), &err);
	assert_true(r == -EREMOTEIO || r == -ENOENT); /* the VMM noticed, or we did */
	print_message("no kernel: %s\n", err.text);
	assert_true(strstr(err.text, "could not") || strstr(err.text, "cannot"));
	nothing_is_left_running();
}

static void a_capture_that_does_not_start_leaves_no_memory_file(void **state)
{
	(void)state;
	need_backend();
	struct machine m;
	struct mvm_error err;
	struct vmm_config c = config_of(VMM_MEMORY_CAPTURE);
	c.kernel = "no-such-kernel";
	c.memory_name = "other.bin";
	assert_true(spawn(&m, &c, soon(), &err) < 0);
	assert_int_equal(faccessat(B.snap_fd, "other.bin", F_OK, 0), -1);
	nothing_is_left_running();
}

static void a_deadline_is_kept(void **state)
{
	(void)state;
	need_backend();
	struct machine m;
	struct mvm_error err;
	struct vmm_config c = config_of(VMM_MEMORY_CLONE);
	assert_int_equal(spawn(&m, &c, clock_now_ns(), &err), -ETIMEDOUT);
	nothing_is_left_running();
}

static void a_missing_program_is_no_error_but_a_reason(void **state)
{
	(void)state;
	AUTO_DONE(vmm_probe) p = { 0 };
	struct mvm_error err;
	const char *old = getenv(B.ops->binary_env);
	AUTO_FREE char *keep = old ? strdup(old) : NULL;
	assert_int_equal(setenv(B.ops->binary_env, "/nonexistent/vmm", 1), 0);
	ok(vmm_backend_probe(B.ops, -1, NULL, &p, &err), &err);
	if (keep)
		setenv(B.ops->binary_env, keep, 1);
	else
		unsetenv(B.ops->binary_env);
	assert_false(p.usable);
	assert_non_null(p.reason);

	struct machine m;
	struct vmm_config c = config_of(VMM_MEMORY_PRIVATE);
	struct vmm_probe good = B.probe;
	B.probe = p;
	assert_int_equal(spawn(&m, &c, soon(), &err), -EOPNOTSUPP);
	B.probe = good;
}

static void a_failure_at_any_op_names_the_vm_and_leaves_nothing(void **state)
{
	(void)state;
	static const char *const ops[] = { "spawn", "boot", "pause", "resume", "snapshot" };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(ops); i++) {
		struct machine m;
		struct mvm_error err = { 0 };
		struct vmm_config c = config_of(VMM_MEMORY_CAPTURE);
		AUTO_CLOSE int dir_fd = dir_make_at(B.dir_fd, "failing");
		c.memory_dir_fd = dir_fd;
		fake_fail_at = ops[i];
		int r = spawn(&m, &c, soon(), &err);
		if (r == 0)
			r = vmm_boot(m.vmm, soon(), &err);
		if (r == 0)
			r = vmm_pause(m.vmm, soon(), &err);
		if (r == 0 && i == 3)
			r = vmm_resume(m.vmm, soon(), &err);
		if (r == 0)
			r = vmm_snapshot(m.vmm, dir_fd, soon(), &err);
		fake_fail_at = NULL;
		assert_int_equal(r, -EREMOTEIO);
		assert_int_equal(r, err.code);
		AUTO_FREE char *text = str_printf("VM 'subject': told to fail at %s", ops[i]);
		assert_string_equal(err.text, text);
		drop(&m);
		assert_int_equal(tree_remove_at(B.dir_fd, "failing"), 0);
		nothing_is_left_running();
	}
}

static int end_group(void **state)
{
	drop_origin(state);
	return tear_down(state);
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], FAKE_GUEST_ARG) == 0)
		fake_guest_main(argc, argv);
	const char *firecracker = getenv("MVM_TEST_FIRECRACKER");
	if (firecracker)
		setenv("MVM_FIRECRACKER", firecracker, 1);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_machine_boots_and_answers),
		cmocka_unit_test(calls_that_do_not_fit_the_state_are_refused),
		cmocka_unit_test_teardown(a_paused_machine_is_captured, drop_origin),
		cmocka_unit_test(a_clone_has_data_that_was_only_in_memory),
		cmocka_unit_test(pause_stops_the_guest_and_resume_continues_it),
		cmocka_unit_test(clones_share_nothing_that_they_write),
		cmocka_unit_test(a_suspended_clone_goes_on_in_another_vmm),
		cmocka_unit_test(forks_go_on_beside_their_origin),
		cmocka_unit_test(damaged_pages_are_refused_and_leave_nothing),
		cmocka_unit_test(no_clone_can_write_the_memory_that_it_shares),
		cmocka_unit_test(memory_may_be_a_copy_that_is_unlinked_once_it_is_restored),
		cmocka_unit_test(a_guest_may_power_itself_off),
		cmocka_unit_test(the_power_button_needs_a_running_guest),
		cmocka_unit_test(a_killed_vmm_is_reported),
		cmocka_unit_test(a_port_can_be_forwarded_later),
		cmocka_unit_test(damaged_device_state_fails_and_leaves_nothing),
		cmocka_unit_test(a_missing_kernel_is_reported),
		cmocka_unit_test(a_capture_that_does_not_start_leaves_no_memory_file),
		cmocka_unit_test(a_deadline_is_kept),
	};
	const struct CMUnitTest fault_tests[] = {
		cmocka_unit_test(a_failure_at_any_op_names_the_vm_and_leaves_nothing),
	};
	const struct CMUnitTest probe_tests[] = {
		cmocka_unit_test(a_missing_program_is_no_error_but_a_reason),
	};
	int failed = 0;
	print_message("backend: fake\n"); /* cmocka prints a group's name in XML only */
	B.ops = &vmm_fake;
	failed += cmocka_run_group_tests_name("fake", tests, set_up, end_group);
	memset(&B, 0, sizeof(B));
	B.ops = &vmm_fake;
	failed += cmocka_run_group_tests_name("fake-faults", fault_tests, set_up, end_group);
	for (size_t i = 0; vmm_backends[i]; i++) {
		memset(&B, 0, sizeof(B));
		B.ops = vmm_backends[i];
		print_message("backend: %s\n", B.ops->name);
		failed += cmocka_run_group_tests_name(B.ops->name, tests, set_up, end_group);
		failed += cmocka_run_group_tests_name(B.ops->name, probe_tests, NULL, NULL);
	}
	return failed ? 1 : 0;
}
