/* SPDX-License-Identifier: Apache-2.0 */
/* Promises of doc/threading.md about threads, signals and fork, tested without a guest. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
/* after the headers that it needs */
#include <cmocka.h>

#include <mvm/doctor.h>
#include <mvm/instance.h>
#include <mvm/kernel.h>
#include <mvm/network.h>
#include <mvm/pool.h>
#include <mvm/revisions.h>
#include <mvm/store.h>
#include <mvm/stream.h>
#include <mvm/suspend.h>
#include <mvm/volume.h>

#include "base/file.h"
#include "base/lock.h"
#include "base/process.h"
#include "instance/folder.h"
#include "instance/instance.h"
#include "instance/logfile.h"
#include "scratch.h"

#define THREADS	  4
#define TEMPLATES 8 /* of each thread */

static struct mvm *open_data(const char *scratch)
{
	char path[96];
	struct mvm *mvm = NULL;
	struct mvm_error err;
	snprintf(path, sizeof(path), "%s/data", scratch);
	if (mvm_open(path, &mvm, &err) < 0)
		fail_msg("%s", err.text);
	return mvm;
}

static int create(struct mvm *mvm, const char *id)
{
	static const char *const source[] = { "dir:/tmp" };
	const struct mvm_template_setting setting = { .key = "flake_ref",
						      .values = source,
						      .n_values = 1 };
	return mvm_template_create(mvm, id, &setting, 1, false, NULL, NULL);
}

static int count_template(void *arg, const struct mvm_template_summary *summary)
{
	(void)summary;
	++*(unsigned *)arg;
	return 0;
}

static unsigned count(struct mvm *mvm)
{
	unsigned n = 0;
	assert_int_equal(mvm_template_list(mvm, count_template, &n, NULL), 0);
	return n;
}

static int take_event(void *arg, const struct mvm_event *event)
{
	(void)arg;
	(void)event;
	return 0;
}

/* Use one function of each kind that needs no guest. */
static void use(struct mvm *mvm, const char *id)
{
	struct mvm_instance_info **instances;
	struct mvm_backend_info **backends;
	struct mvm_template_details *details;
	size_t n;
	assert_int_equal(create(mvm, id), MVM_APPLY_CREATED);
	assert_int_equal(mvm_template_details(mvm, id, NULL, &details, NULL), 0);
	mvm_template_details_free(details);
	assert_true(count(mvm) > 0);
	assert_int_equal(mvm_backend_list(mvm, NULL, &backends, &n, NULL), 0);
	mvm_backend_list_free(backends, n);
	assert_int_equal(mvm_instance_settle(mvm, NULL, NULL), 0);
	assert_int_equal(mvm_instance_list(mvm, &instances, &n, NULL), 0);
	mvm_instance_list_free(instances, n);
	assert_int_equal(mvm_events(mvm, NULL, take_event, NULL, NULL), 0);
	assert_int_equal(mvm_template_prune(mvm, NULL, NULL, NULL, NULL, NULL, NULL), 0);
}

/* ---- threads ---- */

struct worker {
	pthread_t thread;
	const char *scratch;
	int number, failed;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	char path[96], id[32];
	struct mvm *mvm = NULL;
	snprintf(path, sizeof(path), "%s/data", w->scratch);
	w->failed = mvm_open(path, &mvm, NULL) < 0;
	for (int i = 0; i < TEMPLATES && !w->failed; i++) {
		unsigned n = 0;
		snprintf(id, sizeof(id), "t%d-%d", w->number, i);
		w->failed = create(mvm, id) != MVM_APPLY_CREATED ||
			    mvm_template_list(mvm, count_template, &n, NULL) < 0 ||
			    n < (unsigned)i + 1;
	}
	mvm_close(mvm);
	return NULL;
}

static void threads_with_contexts_of_their_own_share_a_folder(void **state)
{
	struct worker workers[THREADS];
	for (int i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ .scratch = scratch_path(state), .number = i };
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
		assert_false(workers[i].failed);
	}
	struct mvm *mvm = open_data(scratch_path(state));
	assert_int_equal(count(mvm), THREADS * TEMPLATES);
	mvm_close(mvm);
}

static unsigned count_entries(const char *folder)
{
	AUTO_CLOSEDIR DIR *dir = opendir(folder);
	unsigned n = 0;
	assert_non_null(dir);
	while (readdir(dir))
		n++;
	return n;
}

static void the_library_starts_no_thread(void **state)
{
	unsigned before = count_entries("/proc/self/task");
	struct mvm *mvm = open_data(scratch_path(state));
	use(mvm, "web");
	assert_int_equal(count_entries("/proc/self/task"), before);
	mvm_close(mvm);
}

/* ---- signals ---- */

static void the_library_changes_no_signal(void **state)
{
	struct sigaction before[NSIG] = { 0 }, after;
	sigset_t mask_before, mask_after;
	for (int i = 1; i < NSIG; i++)
		sigaction(i, NULL, &before[i]); /* fails for libc's two signals */
	assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &mask_before), 0);
	struct mvm *mvm = open_data(scratch_path(state));
	use(mvm, "web");
	mvm_close(mvm);
	assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &mask_after), 0);
	for (int i = 1; i < NSIG; i++) {
		after = (struct sigaction){ 0 };
		sigaction(i, NULL, &after);
		assert_ptr_equal(after.sa_handler, before[i].sa_handler);
		assert_int_equal(sigismember(&mask_after, i), sigismember(&mask_before, i));
	}
}

static volatile sig_atomic_t n_signals;

static void on_alarm(int number)
{
	(void)number;
	n_signals++;
}

static void a_handler_interrupts_nothing(void **state)
{
	const struct itimerval often = { { 0, 500 }, { 0, 500 } }, never = { 0 };
	const struct sigaction action = { .sa_handler = on_alarm }; /* no SA_RESTART */
	struct sigaction before;
	assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
	assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
	struct mvm *mvm = open_data(scratch_path(state));
	n_signals = 0;
	for (int i = 0; i == 0 || (n_signals < 20 && i < 1000); i++) {
		char id[32];
		snprintf(id, sizeof(id), "web-%d", i);
		use(mvm, id);
	}
	mvm_close(mvm);
	assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
	assert_int_equal(sigaction(SIGALRM, &before, NULL), 0);
	assert_true(n_signals > 0);
}

static void ignoring_sigchld_is_an_error(void **state)
{
	char program[] = "/bin/true", *argv[] = { program, NULL };
	const struct process_spec spec = {
		.argv = argv, .cwd_fd = AT_FDCWD, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1
	};
	struct process child = { 0 };
	void (*before)(int) = signal(SIGCHLD, SIG_IGN);
	(void)state;
	assert_int_equal(process_spawn(&spec, &child), 0);
	assert_int_equal(process_wait(&child, INT64_MAX, NULL), -ECHILD);
	process_kill(&child);
	signal(SIGCHLD, before);
}

static void make_folder(const char *scratch, const char *name, enum record_state state,
			struct instance_folder *ret)
{
	char path[96], copy[32];
	snprintf(path, sizeof(path), "%s/data/instances", scratch);
	snprintf(copy, sizeof(copy), "%s", name);
	struct record record = { .name = copy,
				 .template_id = copy,
				 .revision = copy,
				 .backend = copy,
				 .backend_version = copy,
				 .accelerator = copy,
				 .cmdline = copy,
				 .created_at = copy,
				 .state = state,
				 .vcpus = 1,
				 .mem_mib = 128 };
	mkdir(path, 0700); /* may exist already */
	AUTO_CLOSE int fd = dir_open_at(AT_FDCWD, path);
	assert_int_equal(instance_folder_make(fd, &record, ret), 0);
}

/* Make an instance that has printed a line and ended. */
static void make_instance(const char *scratch, const char *name)
{
	static const char line[] = "2026-01-31T12:00:00.123456789Z F hello\n";
	AUTO_DONE(instance_folder) folder = INSTANCE_FOLDER_NONE;
	make_folder(scratch, name, RECORD_EXITED, &folder);
	assert_int_equal(
		file_create_at(folder.dir_fd, WORKLOAD_LOG_NAME, line, sizeof(line) - 1, 0600), 0);
}

static void a_lost_reader_is_an_error_when_sigpipe_is_ignored(void **state)
{
	struct mvm_logs_options options = MVM_LOGS_OPTIONS_INIT;
	struct mvm *mvm = open_data(scratch_path(state));
	void (*before)(int) = signal(SIGPIPE, SIG_IGN);
	int fds[2];
	make_instance(scratch_path(state), "one");
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	options.out_fd = &fds[1];
	assert_int_equal(mvm_instance_logs(mvm, "one", &options, NULL), 0);
	close(fds[0]);
	assert_int_equal(mvm_instance_logs(mvm, "one", &options, NULL), -EPIPE);
	close(fds[1]);
	signal(SIGPIPE, before);
	mvm_close(mvm);
}

/* A reader that reads no more must not keep a cancelled call. */
static void a_full_pipe_does_not_outlast_a_cancel(void **state)
{
	static const char expected[] = "hello\n";
	struct mvm_logs_options options = MVM_LOGS_OPTIONS_INIT;
	struct mvm *mvm = open_data(scratch_path(state));
	int readable = open("/dev/null", O_RDONLY | O_CLOEXEC), fds[2];
	char page[4096] = "";
	ssize_t n;
	make_instance(scratch_path(state), "one");
	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	while (write(fds[1], page, sizeof(page)) > 0)
		;
	assert_int_equal(fcntl(fds[1], F_SETFL, 0), 0);
	options.out_fd = &fds[1];
	options.cancel_fd = &readable;
	alarm(60); /* ends a test that hangs */
	assert_int_equal(mvm_instance_logs(mvm, "one", &options, NULL), 0);
	assert_int_equal(read(fds[0], page, sizeof(page)), sizeof(page));
	assert_int_equal(mvm_instance_logs(mvm, "one", &options, NULL), 0);
	alarm(0);
	while ((n = read(fds[0], page, sizeof(page))) == sizeof(page))
		;
	assert_int_equal(n, strlen(expected)); /* the pipe had room for it */
	assert_memory_equal(page, expected, strlen(expected));
	close(fds[0]);
	close(fds[1]);
	close(readable);
	mvm_close(mvm);
}

static int count_process(void *arg, const struct mvm_process *process)
{
	(void)arg;
	(void)process;
	return 0;
}

/* Call the i-th function that waits for a VM. */
static int call_waiting(struct mvm *mvm, int i, const struct mvm_progress *p, struct mvm_error *err)
{
	struct mvm_instance *instance;
	int r;
	switch (i) {
	case 0:
		return mvm_instance_stop(mvm, "one", 60000, p, err);
	case 1:
		return mvm_instance_remove(mvm, "one", true, p, err);
	case 2:
		return mvm_instance_remove_unnamed(mvm, "one", true, p, err);
	case 3:
		return mvm_instance_processes(mvm, "one", p, count_process, NULL, err);
	case 4:
		return mvm_instance_kill(mvm, "one", "TERM", p, err);
	case 5:
		return mvm_instance_kill(mvm, "one", "KILL", p, err);
	case 6:
		return mvm_instance_pause(mvm, "one", p, err);
	case 7:
		return mvm_instance_resume(mvm, "one", p, err);
	case 8:
		return mvm_instance_suspend(mvm, "one", p, err);
	case 9:
		return mvm_instance_restart(mvm, "one", 60000, p, &instance, err);
	case 10:
		assert_int_equal(mvm_instance_open(mvm, "one", &instance, NULL), 0);
		r = mvm_instance_finish(instance, 60000, p, err);
		mvm_instance_close(instance);
		return r;
	case 11:
		return mvm_instance_rename(mvm, "one", "two", p, err);
	case 12:
		return mvm_instance_set_network(mvm, "one", NULL, p, err);
	default:
		return 0;
	}
}

/* Its supervisor takes connections and never answers. */
static void a_silent_supervisor_does_not_outlast_a_cancel(void **state)
{
	struct mvm_progress progress = MVM_PROGRESS_INIT;
	struct mvm *mvm = open_data(scratch_path(state));
	int readable = open("/dev/null", O_RDONLY | O_CLOEXEC), r, n = 0;
	struct mvm_error err;
	AUTO_DONE(instance_folder) folder = INSTANCE_FOLDER_NONE;
	make_folder(scratch_path(state), "one", RECORD_RUNNING, &folder);
	progress.cancel_fd = &readable;
	alarm(60); /* ends a test that hangs */
	while ((r = call_waiting(mvm, n, &progress, &err)) != 0) {
		assert_int_equal(r, -ECANCELED);
		assert_int_equal(err.code, r);
		assert_non_null(strstr(err.text, "it was cancelled"));
		n++;
	}
	alarm(0);
	assert_int_equal(n, 13);
	assert_true(lock_is_held_at(folder.dir_fd, INSTANCE_LOCK_NAME));
	close(readable);
	mvm_close(mvm);
}

/* Call the i-th function that asks a backend's program. */
static int call_asking(struct mvm *mvm, const char *data, int i, const struct mvm_progress *p,
		       struct mvm_error *err)
{
	struct mvm_backend_info **backends;
	struct mvm_check **checks;
	size_t n;
	switch (i) {
	case 0:
		return mvm_backend_list(mvm, p, &backends, &n, err);
	case 1:
		return mvm_doctor(data, p, &checks, &n, err);
	default:
		return 0;
	}
}

/* The program of a backend does not answer. */
static void a_silent_program_does_not_outlast_a_cancel(void **state)
{
	static const char script[] = "#!/bin/sh\nexec sleep 60\n";
	struct mvm_progress progress = MVM_PROGRESS_INIT;
	struct mvm *mvm = open_data(scratch_path(state));
	int readable = open("/dev/null", O_RDONLY | O_CLOEXEC), r, n = 0;
	AUTO_CLOSE int dir_fd = dir_open_at(AT_FDCWD, scratch_path(state));
	AUTO_FREE char *program = str_printf("%s/qemu", scratch_path(state));
	AUTO_FREE char *data = str_printf("%s/data", scratch_path(state));
	struct mvm_error err;
	assert_int_equal(file_create_at(dir_fd, "qemu", script, strlen(script), 0755), 0);
	assert_int_equal(setenv("MVM_QEMU", program, 1), 0);
	progress.cancel_fd = &readable;
	alarm(28); /* for each call: mvm itself waits for half a minute */
	while ((r = call_asking(mvm, data, n, &progress, &err)) != 0) {
		alarm(28);
		assert_int_equal(r, -ECANCELED);
		assert_int_equal(err.code, r);
		n++;
	}
	alarm(0);
	assert_int_equal(n, 2);
	unsetenv("MVM_QEMU");
	close(readable);
	mvm_close(mvm);
}

/* ---- ownership ---- */

static void every_destructor_accepts_null(void **state)
{
	(void)state;
	mvm_close(NULL);
	mvm_instance_close(NULL);
	mvm_exec_close(NULL);
	mvm_event_stream_close(NULL);
	mvm_log_stream_close(NULL);
	mvm_strings_done(NULL);
	mvm_volume_done(NULL);
	mvm_backend_info_free(NULL);
	mvm_backend_list_free(NULL, 0);
	mvm_check_free(NULL);
	mvm_check_list_free(NULL, 0);
	mvm_instance_info_free(NULL);
	mvm_instance_list_free(NULL, 0);
	mvm_kernel_free(NULL);
	mvm_kernel_list_free(NULL, 0);
	mvm_pool_info_free(NULL);
	mvm_pool_list_free(NULL, 0);
	mvm_revision_summary_free(NULL);
	mvm_revision_list_free(NULL, 0);
	mvm_template_config_free(NULL);
	mvm_template_details_free(NULL);
	mvm_template_diff_free(NULL);
	mvm_verify_result_free(NULL);
	mvm_volume_info_free(NULL);
	mvm_volume_list_free(NULL, 0);
}

/* ---- fork and exec ---- */

static void every_descriptor_is_close_on_exec(void **state)
{
	struct mvm_event_stream_options options = MVM_EVENT_STREAM_OPTIONS_INIT;
	struct mvm_event_stream *events;
	bool had[256];
	options.follow = true;
	for (int fd = 0; fd < 256; fd++)
		had[fd] = fcntl(fd, F_GETFD) >= 0;
	struct mvm *mvm = open_data(scratch_path(state));
	use(mvm, "web");
	assert_int_equal(mvm_event_stream_open(mvm, &options, &events, NULL), 0);
	unsigned n = 0;
	for (int fd = 0; fd < 256; fd++) {
		int flags = had[fd] ? -1 : fcntl(fd, F_GETFD);
		n += flags >= 0;
		if (flags >= 0 && !(flags & FD_CLOEXEC))
			fail_msg("descriptor %d stays open at exec", fd);
	}
	assert_true(n > 0);
	mvm_event_stream_close(events);
	mvm_close(mvm);
	for (int fd = 0; fd < 256; fd++)
		assert_true(had[fd] || fcntl(fd, F_GETFD) < 0);
}

static void a_child_may_close_what_its_parent_uses(void **state)
{
	struct mvm_event_stream_options options = MVM_EVENT_STREAM_OPTIONS_INIT;
	struct mvm_event_stream *events;
	const struct mvm_event *event;
	int status = 0;
	options.follow = true;
	struct mvm *mvm = open_data(scratch_path(state));
	use(mvm, "web");
	assert_int_equal(mvm_event_stream_open(mvm, &options, &events, NULL), 0);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		mvm_event_stream_close(events);
		mvm_close(mvm);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	use(mvm, "web-2");
	assert_int_equal(mvm_event_stream_read(events, &event, NULL), MVM_STREAM_WAIT);
	mvm_event_stream_close(events);
	mvm_close(mvm);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(threads_with_contexts_of_their_own_share_a_folder),
		TEST(the_library_starts_no_thread),
		TEST(the_library_changes_no_signal),
		TEST(a_handler_interrupts_nothing),
		TEST(ignoring_sigchld_is_an_error),
		TEST(a_lost_reader_is_an_error_when_sigpipe_is_ignored),
		TEST(a_full_pipe_does_not_outlast_a_cancel),
		TEST(a_silent_supervisor_does_not_outlast_a_cancel),
		TEST(a_silent_program_does_not_outlast_a_cancel),
		cmocka_unit_test(every_destructor_accepts_null),
		TEST(every_descriptor_is_close_on_exec),
		TEST(a_child_may_close_what_its_parent_uses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
