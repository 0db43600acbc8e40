/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "base/error.h"
#include "supervisor/panic.h"

#define PANIC "[   63.964719] Kernel panic - not syncing: "

static const struct {
	const char *console, *text; /* NULL: no panic */
} cases[] = {
	{ "", NULL },
	{ "[    1.0] Run /init as init process\r\n", NULL },
	{ PANIC "sysrq triggered crash\r\n", "sysrq triggered crash" },
	{ PANIC "Out of memory\r\n[   63.9] Call Trace:\r\n[   64.0] Kernel Offset: disabled\r\n",
	  "Out of memory" },
	/* after a prompt, and with a program's output in the middle of the line */
	{ "login: " PANIC "VFS\x1b[31m \xff\xc3\r\n", "VFS[31m " },
	/* with the trailer of kernels that wait after a panic */
	{ PANIC "first\n[ 64.0] ---[ end Kernel panic - not syncing: first ]---\n", "first" },
	/* a user prints another machine's log, and then the guest ends in good order */
	{ PANIC "of another\n[    9.0] reboot: Restarting system\n", NULL },
	{ PANIC "of another\n[    9.0] reboot: Power down\n", NULL },
	{ "[    9.0] reboot: Restarting system\n", NULL },
	{ "Kernel panic - not syncing\n", NULL },
	/* an incomplete line */
	{ PANIC "cut", NULL },
};

static void a_panic_is_told_from_an_orderly_end(void **state)
{
	(void)state;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		size_t len = strlen(cases[i].console);
		for (size_t piece = 1; piece < 9; piece++) { /* cut into pieces of any size */
			struct panic_watch w = { 0 };
			for (size_t at = 0; at < len; at += piece)
				panic_watch_add(&w, cases[i].console + at,
						len - at < piece ? len - at : piece);
			if (cases[i].text)
				assert_string_equal(panic_watch_text(&w), cases[i].text);
			else
				assert_null(panic_watch_text(&w));
		}
	}
}

static void an_end_in_good_order_is_announced(void **state)
{
	(void)state;
	static const struct {
		const char *console;
		bool orderly;
	} ends[] = {
		{ "", false },
		{ "[    9.0] reboot: Restarting system\r\n", true },
		{ "login: [    9.0] reboot: Power down\r\n", true },
		{ "reboot: Restarting system\n", true }, /* printk.time=0 */
		{ "[    9.0] sysrq: Resetting\n", false },
		{ "please reboot: now\n", false },
		{ PANIC "x\n", false },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(ends); i++) {
		struct panic_watch w = { 0 };
		panic_watch_add(&w, ends[i].console, strlen(ends[i].console));
		assert_int_equal(w.orderly, ends[i].orderly);
	}
}

static void endless_lines_take_no_room(void **state)
{
	(void)state;
	static char flood[100000];
	struct panic_watch w = { 0 };
	memset(flood, 'x', sizeof(flood));
	panic_watch_add(&w, flood, sizeof(flood));
	panic_watch_add(&w, "\n" PANIC, strlen("\n" PANIC));
	panic_watch_add(&w, flood, sizeof(flood));
	panic_watch_add(&w, "\n", 1);
	assert_int_equal(strlen(panic_watch_text(&w)), PANIC_TEXT_MAX - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_panic_is_told_from_an_orderly_end),
		cmocka_unit_test(an_end_in_good_order_is_announced),
		cmocka_unit_test(endless_lines_take_no_room),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
