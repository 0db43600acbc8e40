/* SPDX-License-Identifier: Apache-2.0 */
/* Suspends and forks of a VM whose memory and disks take long to read or copy. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "base/file.h"
#include "base/own.h"
#include "codec/sha256.h"
#include "instance/own_disk.h"
#include "supervisor_world.h"

/* The work in the supervisor of which there is always more. */
static enum { READING_DISKS, READING_MEMORY, COPYING_DISKS } endless;

static int more(void)
{
	usleep(1000);
	return 1;
}

int __wrap_sha256_sparse_some(struct sha256_sparse *s, int fd, unsigned n, struct mvm_digest *ret);
int __real_sha256_sparse_some(struct sha256_sparse *s, int fd, unsigned n, struct mvm_digest *ret);
int __wrap_sha256_fd_some(struct sha256_parts *p, int fd, uint64_t n, struct mvm_digest *ret);
int __real_sha256_fd_some(struct sha256_parts *p, int fd, uint64_t n, struct mvm_digest *ret);
int __wrap_file_copy_some(struct file_copying *c, int from_fd, int to_fd, off_t n);
int __real_file_copy_some(struct file_copying *c, int from_fd, int to_fd, off_t n);

int __wrap_sha256_sparse_some(struct sha256_sparse *s, int fd, unsigned n, struct mvm_digest *ret)
{
	return endless == READING_DISKS ? more() : __real_sha256_sparse_some(s, fd, n, ret);
}

int __wrap_sha256_fd_some(struct sha256_parts *p, int fd, uint64_t n, struct mvm_digest *ret)
{
	return endless == READING_MEMORY ? more() : __real_sha256_fd_some(p, fd, n, ret);
}

int __wrap_file_copy_some(struct file_copying *c, int from_fd, int to_fd, off_t n)
{
	return endless == COPYING_DISKS ? more() : __real_file_copy_some(c, from_fd, to_fd, n);
}

/* Start a clone with a disk, and let a client suspend or fork it, up to work that has no end. */
static void begin_work(struct world *x, struct control *c, unsigned call)
{
	x->record.disks[OWN_DISK_DATA].present = true;
	x->record.disks[OWN_DISK_DATA].size_mib = 1;
	start_clone(x);
	AUTO_CLOSE int disk = openat(x->folder.dir_fd, own_disks[OWN_DISK_DATA].file,
				     O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(disk >= 0);
	connect_client(x, c);
	begin_call(c, call);
	freeze_clone(x);
	go_on(x);
	usleep(50000); /* else it ends before that work, in the same way */
}

static void expect_it_goes_on(struct world *x)
{
	expect_step(x, VMM_STEP_RESUME);
	go_on(x);
	answer_nonce(x, expect_call(x, CALL_THAW));
}

static void expect_stopped(struct world *x)
{
	AUTO_DONE(record) r = { 0 };
	shut_down(x);
	expect_end(x, 0);
	load_record(x, &r);
	assert_string_equal(record_state_name(r.state), record_state_name(RECORD_EXITED));
}

static void expect_a_stop(struct world *x, unsigned call)
{
	struct control c, other;
	begin_work(x, &c, call);
	connect_client(x, &other);
	begin_stop(&other, 10000);
	expect_it_goes_on(x);
	expect_stopped(x);
	control_done(&other);
	control_done(&c);
}

static void a_stop_ends_the_reading_of_the_disk(void **state)
{
	endless = READING_DISKS;
	expect_a_stop(*state, CALL_SUSPEND);
}

static void a_stop_ends_the_reading_of_the_memory(void **state)
{
	endless = READING_MEMORY;
	expect_a_stop(*state, CALL_SUSPEND);
}

static void a_stop_ends_the_reading_of_a_forks_memory(void **state)
{
	struct world *x = *state;
	struct control c, other;
	endless = READING_MEMORY;
	begin_work(x, &c, CALL_FORK);
	expect_it_goes_on(x); /* before its memory is read */
	connect_client(x, &other);
	begin_stop(&other, 10000);
	expect_stopped(x);
	control_done(&other);
	control_done(&c);
}

static void a_stop_ends_the_copying_of_a_forks_disks(void **state)
{
	endless = COPYING_DISKS;
	expect_a_stop(*state, CALL_FORK);
}

static void expect_it_runs_without(struct world *x, unsigned call)
{
	struct control c;
	begin_work(x, &c, call);
	control_done(&c);
	expect_it_goes_on(x);
	expect_state(x, RECORD_RUNNING);
	connect_client(x, &c);
	begin_stop(&c, 10000);
	expect_stopped(x);
	control_done(&c);
}

static void the_vm_runs_on_when_the_suspends_client_gives_up(void **state)
{
	endless = READING_DISKS;
	expect_it_runs_without(*state, CALL_SUSPEND);
}

static void the_vm_runs_on_when_the_forks_client_gives_up(void **state)
{
	endless = COPYING_DISKS;
	expect_it_runs_without(*state, CALL_FORK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_stop_ends_the_reading_of_the_disk),
		TEST(a_stop_ends_the_reading_of_the_memory),
		TEST(a_stop_ends_the_reading_of_a_forks_memory),
		TEST(a_stop_ends_the_copying_of_a_forks_disks),
		TEST(the_vm_runs_on_when_the_suspends_client_gives_up),
		TEST(the_vm_runs_on_when_the_forks_client_gives_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
