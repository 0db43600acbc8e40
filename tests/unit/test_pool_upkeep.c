/* SPDX-License-Identifier: Apache-2.0 */
/* How many VMs a pool's server starts at once.  No VM of this test comes up. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "base/error.h"
#include "base/hostload.h"
#include "scratch.h"
#include "start/pool_upkeep.h"
#include "start/start.h"

#define MIB (UINT64_C(1) << 20)

static struct hostload host;
static unsigned cpus, begun, most_begun, under_way, cut_short;
static unsigned cancel_after; /* ends of starts; 0: nothing is cancelled */
static int cancel_fd = -1;

int __wrap_revision_open(struct mvm *mvm, const char *ref, struct revision *ret,
			 struct mvm_error *err);
int __wrap_context_backend(struct mvm *mvm, const char *name,
			   const struct mvm_template_revision *revision,
			   const struct mvm_progress *progress, const struct vmm_ops **ret,
			   struct vmm_probe *ret_probe, struct mvm_error *err);
int __wrap_revision_trust(struct mvm *mvm, const struct revision *revision, bool all,
			  const struct mvm_progress *progress, struct mvm_error *err);
int __wrap_start_decide(const struct start_request *q, struct start_plan *ret,
			struct mvm_error *err);
int __wrap_start_begin(struct mvm *mvm, const struct start_request *q,
		       const struct start_plan *plan, struct mvm_instance **ret,
		       struct mvm_error *err);
int __wrap_start_finish(struct mvm *mvm, struct mvm_instance *i,
			const struct mvm_progress *progress, struct mvm_error *err);
void __wrap_instance_cut_short(struct mvm_instance *i);
void __wrap_hostload_read(struct hostload *ret);
unsigned __wrap_hostload_cpus(void);

int __wrap_revision_open(struct mvm *mvm, const char *ref, struct revision *ret,
			 struct mvm_error *err)
{
	(void)mvm, (void)ref, (void)ret, (void)err;
	return 0;
}

int __wrap_context_backend(struct mvm *mvm, const char *name,
			   const struct mvm_template_revision *revision,
			   const struct mvm_progress *progress, const struct vmm_ops **ret,
			   struct vmm_probe *ret_probe, struct mvm_error *err)
{
	(void)mvm, (void)name, (void)revision, (void)progress, (void)ret_probe, (void)err;
	*ret = NULL;
	return 0;
}

int __wrap_revision_trust(struct mvm *mvm, const struct revision *revision, bool all,
			  const struct mvm_progress *progress, struct mvm_error *err)
{
	(void)mvm, (void)revision, (void)all, (void)progress, (void)err;
	return 0;
}

int __wrap_start_decide(const struct start_request *q, struct start_plan *ret,
			struct mvm_error *err)
{
	(void)q, (void)err;
	ret->restore = true;
	return 0;
}

int __wrap_start_begin(struct mvm *mvm, const struct start_request *q,
		       const struct start_plan *plan, struct mvm_instance **ret,
		       struct mvm_error *err)
{
	(void)mvm, (void)q, (void)plan, (void)err;
	*ret = NULL;
	begun++;
	under_way++;
	if (under_way > most_begun)
		most_begun = under_way;
	return 0;
}

int __wrap_start_finish(struct mvm *mvm, struct mvm_instance *i,
			const struct mvm_progress *progress, struct mvm_error *err)
{
	(void)mvm, (void)i, (void)progress;
	under_way--;
	if (begun - under_way == cancel_after)
		eventfd_write(cancel_fd, 1);
	return mvm_error_set(err, -EIO, "this one does not come up");
}

void __wrap_instance_cut_short(struct mvm_instance *i)
{
	(void)i;
	cut_short++;
}

void __wrap_hostload_read(struct hostload *ret)
{
	*ret = host;
}

unsigned __wrap_hostload_cpus(void)
{
	return cpus;
}

/* How many VMs start at once for a pool of that size?  ret_note: what holds it up then. */
static unsigned at_once(void **state, uint32_t size, uint64_t max_bytes, char ret_note[256])
{
	const struct mvm_progress progress = { .size = sizeof(progress), .cancel_fd = &cancel_fd };
	struct pool_server s = { .pool_fd = scratch_fd(state),
				 .max_bytes = max_bytes,
				 .progress = &progress };
	char id[] = "web";
	struct pool p = { .id = id, .dir_fd = -1, .size = size };

	begun = most_begun = under_way = cut_short = 0;
	pool_maintain(&s, &p);
	assert_int_equal(begun, most_begun);
	assert_int_equal(under_way, 0);
	assert_null(p.list);
	memcpy(ret_note, p.note, sizeof(p.note));
	return most_begun;
}

static void missing_vms_start_at_once_as_far_as_the_host_can(void **state)
{
	char note[256];

	cpus = 4;
	host = (struct hostload){ .has_pressure = true };
	assert_int_equal(at_once(state, 8, 1024 * MIB, note), 4);
	assert_string_equal(note, "this one does not come up");
	assert_int_equal(at_once(state, 3, 1024 * MIB, note), 3);
	assert_int_equal(at_once(state, 0, 1024 * MIB, note), 0);
	assert_int_equal(at_once(state, 8, 130 * MIB, note), 2); /* 64 MiB are assumed for each */
	assert_int_equal(at_once(state, 8, 60 * MIB, note), 0);
	assert_non_null(strstr(note, "the limit is 60"));
	cpus = 500;
	assert_int_equal(at_once(state, 1000, UINT64_MAX, note), 64);
}

static void on_a_busy_host_fewer_start_at_once(void **state)
{
	char note[256];

	cpus = 4;
	host = (struct hostload){ .has_pressure = true, .cpu = 90 };
	assert_int_equal(at_once(state, 8, 1024 * MIB, note), 2);
	cpus = 1;
	assert_int_equal(at_once(state, 8, 1024 * MIB, note), 1);
	host = (struct hostload){ .has_pressure = true, .memory = 50 };
	assert_int_equal(at_once(state, 8, 1024 * MIB, note), 0);
	assert_non_null(strstr(note, "waiting until the host has memory"));
}

static void those_that_start_are_told_to_end_together(void **state)
{
	char note[256];

	cpus = 8;
	host = (struct hostload){ .has_pressure = true };
	cancel_after = 2;
	cancel_fd = eventfd(0, EFD_CLOEXEC);
	assert_true(cancel_fd >= 0);
	assert_int_equal(at_once(state, 8, 1024 * MIB, note), 8);
	assert_int_equal(cut_short, 6);
	cut_short = 0;
	assert_int_equal(at_once(state, 8, 1024 * MIB, note), 0); /* and no other begins */
	cancel_after = 0;
	close(cancel_fd);
	cancel_fd = -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(missing_vms_start_at_once_as_far_as_the_host_can,
						scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(on_a_busy_host_fewer_start_at_once, scratch_setup,
						scratch_teardown),
		cmocka_unit_test_setup_teardown(those_that_start_are_told_to_end_together,
						scratch_setup, scratch_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
