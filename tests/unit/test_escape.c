/* SPDX-License-Identifier: Apache-2.0 */
/* Keys that go to the guest, and keys that end the session. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "base/error.h"
#include "instance/escape.h"

static void a_tilde_counts_at_the_beginning_of_a_line(void **state)
{
	static const struct {
		const char *typed, *passed; /* NULL: the session ends */
	} cases[] = {
		{ "~.", NULL },		  { "ls\r~.", NULL }, { "ls\n~.x", NULL },
		{ "\r\r~.", NULL },	  { "~x\r~.", NULL }, { "", "" },
		{ "ls ~.\r", "ls ~.\r" }, { "~", "" }, /* held back */
		{ "~~.", "~." },	  { "~x~.", "~x~." }, { "~\r.", "~\r." },
		{ "\3\3\3", "\3\3\3" },
	};
	(void)state;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		/* in one piece, and key by key */
		for (size_t piece = 1; piece <= 16; piece += 15) {
			struct escape e = { 0 };
			char out[64];
			size_t len = strlen(cases[i].typed), n_out = 0, n;
			bool ends = false;
			for (size_t at = 0; at < len && !ends; at += piece) {
				size_t left = len - at < piece ? len - at : piece;
				ends = escape_feed(&e, cases[i].typed + at, left, out + n_out, &n);
				n_out += ends ? 0 : n;
			}
			assert_int_equal(ends, !cases[i].passed);
			if (!ends) {
				assert_int_equal(n_out, strlen(cases[i].passed));
				assert_memory_equal(out, cases[i].passed, n_out);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_tilde_counts_at_the_beginning_of_a_line),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
