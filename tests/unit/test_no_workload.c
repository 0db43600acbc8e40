/* SPDX-License-Identifier: Apache-2.0 */
/* A VM that starts without its template's workload. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "supervisor_world.h"

static uint32_t expect_configure(struct world *x)
{
	expect_spawn(x);
	go_on(x);
	expect_step(x, VMM_STEP_BOOT);
	go_on(x);
	say_hello(x);
	return expect_call(x, CALL_CONFIGURE);
}

static void a_vm_without_a_workload_is_up_with_its_agent(void **state)
{
	struct world *x = *state;
	AUTO_DONE(strbuf) left_out = { 0 };
	AUTO_DONE(record) rec = { 0 };
	set_command(x);
	x->revision.run.health =
		(struct mvm_health){ .set = true, .kind = MVM_HEALTH_TCP, .tcp = 80 };
	x->record.no_workload = true;
	launch(x);
	uint32_t stream = expect_configure(x);
	wire_put_u64(&left_out, FIELD_STATUS, 0);
	wire_put_u64(&left_out, FIELD_NO_WORKLOAD, 1);
	say(x, FRAME_REPLY, stream, &left_out);
	assert_int_equal(start_status(x, NULL), 0);
	inspect(x, &rec);
	assert_int_equal(rec.state, RECORD_RUNNING);
	assert_int_equal(rec.health, RECORD_HEALTH_HEALTHY);
	assert_true(rec.no_workload);
	kill(x->supervisor, SIGTERM);
	shut_down(x); /* and no AWAIT came before */
	expect_end(x, 0);
}

static void an_old_agent_that_starts_the_workload_fails_the_start(void **state)
{
	struct world *x = *state;
	struct mvm_error err = { 0 };
	set_command(x);
	x->record.no_workload = true;
	launch(x);
	answer_call(x, expect_configure(x), 0, NULL);
	assert_int_equal(start_status(x, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "build the template again"));
	expect_end(x, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_vm_without_a_workload_is_up_with_its_agent),
		TEST(an_old_agent_that_starts_the_workload_fails_the_start),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
