/* SPDX-License-Identifier: Apache-2.0 */
/* A flood of events that no client asks for: the last ones are kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "e2b/last_events.h"

static void add(struct last_events *l, int from, int to, size_t len)
{
	for (int i = from; i < to; i++)
		last_events_add(l, json_integer(i), len);
}

/* It has these events in their order, and then none. */
static void expect(struct last_events *l, int from, int to)
{
	json_t *list = last_events_take(l);
	assert_int_equal(json_array_size(list), to - from);
	for (int i = from; i < to; i++)
		assert_int_equal(json_integer_value(json_array_get(list, (size_t)(i - from))), i);
	json_decref(list);
	list = last_events_take(l);
	assert_int_equal(json_array_size(list), 0);
	json_decref(list);
}

static void a_flood_leaves_the_last_events(void **state)
{
	struct last_events l = { 0 };
	(void)state;
	add(&l, 0, 20000, 230);
	expect(&l, 20000 - (int)LAST_EVENTS_MAX, 20000);
	add(&l, 0, (int)LAST_EVENTS_MAX, 1);
	expect(&l, 0, (int)LAST_EVENTS_MAX);
}

static void a_flood_of_large_events_leaves_as_many_as_fit(void **state)
{
	const int fit = (int)(LAST_EVENTS_BYTES_MAX / 60000);
	struct last_events l = { 0 };
	(void)state;
	add(&l, 0, 1000, 60000);
	expect(&l, 1000 - fit, 1000);
	add(&l, 0, 3, LAST_EVENTS_BYTES_MAX);
	expect(&l, 2, 3);
}

static void events_that_are_gone_do_not_count(void **state)
{
	struct last_events l = { 0 };
	(void)state;
	add(&l, 0, 1000, 60000);
	add(&l, 1000, 20000, 200);
	expect(&l, 20000 - (int)LAST_EVENTS_MAX, 20000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_flood_leaves_the_last_events),
		cmocka_unit_test(a_flood_of_large_events_leaves_as_many_as_fit),
		cmocka_unit_test(events_that_are_gone_do_not_count),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
