/* SPDX-License-Identifier: Apache-2.0 */
/* How `ps` and `wait` show an instance's state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "instance_state.h"

static void a_state_has_its_exit_status_or_its_lack_of_a_network(void **state)
{
	(void)state;
	static char problem[] = "mvm-net was killed by signal 9";
	static const struct {
		struct mvm_instance_info info;
		const char *says;
	} cases[] = {
		{ { .state = MVM_INSTANCE_RUNNING, .exit_code = -1 }, "running" },
		{ { .state = MVM_INSTANCE_RUNNING, .exit_code = -1, .network_problem = problem },
		  "running (no network)" },
		{ { .state = MVM_INSTANCE_PAUSED, .exit_code = -1, .network_problem = problem },
		  "paused (no network)" },
		{ { .state = MVM_INSTANCE_RUNNING, .exit_code = -1, .suspend_problem = problem },
		  "running (not suspended)" },
		{ { .state = MVM_INSTANCE_EXITED, .exit_code = 3, .volumes_lost = true },
		  "exited (3, volumes lost)" },
		{ { .state = MVM_INSTANCE_FAILED, .exit_code = -1, .volumes_lost = true },
		  "failed (volumes lost)" },
		{ { .state = MVM_INSTANCE_EXITED, .exit_code = 3, .network_problem = problem },
		  "exited (3)" },
		{ { .state = MVM_INSTANCE_EXITED, .exit_code = -1, .network_problem = problem },
		  "exited" },
		{ { .state = MVM_INSTANCE_FAILED, .exit_code = -1, .network_problem = problem },
		  "failed" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		char text[INSTANCE_STATE_SIZE];
		instance_state_text(&cases[i].info, text);
		assert_string_equal(text, cases[i].says);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_state_has_its_exit_status_or_its_lack_of_a_network),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
