/* SPDX-License-Identifier: Apache-2.0 */
/* A suspend of a VM whose disk takes long to read. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "base/own.h"
#include "codec/sha256.h"
#include "instance/own_disk.h"
#include "supervisor_world.h"

int __wrap_sha256_sparse_some(struct sha256_sparse *s, int fd, unsigned n, struct mvm_digest *ret);

/* A part of the disk, in the supervisor: there is always more. */
int __wrap_sha256_sparse_some(struct sha256_sparse *s, int fd, unsigned n, struct mvm_digest *ret)
{
	(void)s;
	(void)n;
	(void)ret;
	(void)fd;
	usleep(1000);
	return 1;
}

/* Start a clone with a disk, and let a client suspend it, up to the reading of the disk. */
static void begin_suspend(struct world *x, struct control *c)
{
	start_clone(x);
	AUTO_CLOSE int disk = openat(x->folder.dir_fd, own_disks[OWN_DISK_DATA].file,
				     O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(disk >= 0);
	connect_client(x, c);
	begin_call(c, CALL_SUSPEND);
	freeze_clone(x);
	go_on(x);
	usleep(50000); /* else it ends before the disk is read, in the same way */
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

static void a_stop_ends_the_reading_of_the_disk(void **state)
{
	struct world *x = *state;
	struct control c, other;
	begin_suspend(x, &c);
	connect_client(x, &other);
	begin_stop(&other, 10000);
	expect_it_goes_on(x);
	expect_stopped(x);
	control_done(&other);
	control_done(&c);
}

static void the_vm_runs_on_when_the_client_gives_up(void **state)
{
	struct world *x = *state;
	struct control c;
	begin_suspend(x, &c);
	control_done(&c);
	expect_it_goes_on(x);
	expect_state(x, RECORD_RUNNING);
	connect_client(x, &c);
	begin_stop(&c, 10000);
	expect_stopped(x);
	control_done(&c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_stop_ends_the_reading_of_the_disk),
		TEST(the_vm_runs_on_when_the_client_gives_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
