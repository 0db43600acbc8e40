/* SPDX-License-Identifier: Apache-2.0 */
/* What `ps` selects with --filter and prints with --format. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "ps_filter.h"
#include "ps_rows.h"

/* main.c has it for the command */
int cli_usage(struct cli_context *c, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(c->err.text, sizeof(c->err.text), fmt, ap);
	va_end(ap);
	c->usage = true;
	return -EINVAL;
}

static const char *const labels[] = { "tier=web", "team=a=b", "empty=", NULL };
static const char *const none[] = { NULL };

/* An instance 'web-1' that exited with 3. */
static struct mvm_instance_info *an_instance(void)
{
	static char name[] = "web-1", id[] = "http-worker", health[] = "none", text[] = "r";
	static struct mvm_instance_info info;
	info = (struct mvm_instance_info){
		.name = name,
		.template_id = id,
		.revision = text,
		.backend = text,
		.health = health,
		.state = MVM_INSTANCE_EXITED,
		.exit_code = 3,
		.network_allow = none,
		.network_deny = none,
		.labels = labels,
	};
	return &info;
}

/* The filters are separated by blanks. */
static int passes(struct cli_context *c, const char *filters, const struct mvm_instance_info *info)
{
	AUTO_DONE(strv) list = { 0 };
	*c = (struct cli_context){ 0 };
	while (*filters) {
		size_t len = strcspn(filters, " ");
		strv_addn(&list, filters, len);
		filters += len + (filters[len] == ' ');
	}
	return ps_passes(c, &list, info);
}

static void values_of_a_key_are_alternatives_and_keys_are_not(void **state)
{
	(void)state;
	static const struct {
		const char *filters;
		int passes;
	} cases[] = {
		{ "", 1 },
		{ "name=eb", 1 },
		{ "name=x", 0 },
		{ "name=x name=web", 1 },
		{ "template=http-worker", 1 },
		{ "template=http", 0 },
		{ "state=exited", 1 },
		{ "state=running status=exited", 1 },
		{ "status=running", 0 },
		{ "health=none state=running", 0 },
		{ "exited=3", 1 },
		{ "exited=0", 0 },
		{ "exited=0 exited=3", 1 },
		{ "label=tier", 1 },
		{ "label=tie", 0 },
		{ "label=tier=web", 1 },
		{ "label=tier=we", 0 },
		{ "label=tier=", 0 },
		{ "label=team=a=b", 1 },
		{ "label=empty label=empty=", 1 },
		{ "label=tier label=team", 1 },
		{ "label=tier label=none", 0 },
		{ "label=none label=tier", 0 },
		{ "label=tier=web name=web state=exited", 1 },
		{ "label=tier=web name=other state=exited", 0 },
	};
	struct cli_context c;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		if (passes(&c, cases[i].filters, an_instance()) != cases[i].passes)
			fail_msg("%s", cases[i].filters);
	}
}

static void one_that_runs_has_no_exit_status(void **state)
{
	(void)state;
	struct cli_context c;
	struct mvm_instance_info *info = an_instance();
	info->state = MVM_INSTANCE_RUNNING;
	assert_int_equal(passes(&c, "exited=3", info), 0);
	info->state = MVM_INSTANCE_FAILED;
	assert_int_equal(passes(&c, "exited=3", info), 0);
}

static void a_mistake_is_told_without_an_instance(void **state)
{
	(void)state;
	static const char *const wrong[] = { "x=y",	    "state",	 "state=x",
					     "status=gone", "health=ok", "exited=x",
					     "label=",	    "label==x",	 "exited=256" };
	struct cli_context c;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(wrong); i++) {
		if (passes(&c, wrong[i], NULL) != -EINVAL || !c.usage || !c.err.text[0])
			fail_msg("%s", wrong[i]);
	}
	assert_int_equal(passes(&c, "state=exited", NULL), 1);
}

static void expect_line(const char *format, const char *line)
{
	struct cli_context c = { 0 };
	AUTO_DONE(strbuf) b = { 0 };
	assert_int_equal(ps_format(&c, format, an_instance(), &b), 0);
	assert_string_equal(b.data, line);
}

static void a_format_knows_columns_and_labels(void **state)
{
	(void)state;
	struct cli_context c = { 0 };
	AUTO_DONE(strbuf) b = { 0 };
	expect_line("{{.Name}}\\t{{.status}}", "web-1\texited (3)\n");
	expect_line("{{.Labels}}", "tier=web,team=a=b,empty=\n");
	expect_line(
		"{{.Label \"tier\"}} {{.label \"team\"}} {{.Label \"empty\"}}{{.Label \"no\"}}!",
		"web a=b !\n");
	expect_line("{{.Label \"tie\"}}", "\n");
	static const char *const wrong[] = { "{{.Nmae}}",	"{{.Label}}",	   "{{.Label \"a}}",
					     "{{.Name \"a\"}}", "{{.Label tier}}", "{{Name}}" };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(wrong); i++)
		assert_int_equal(ps_format(&c, wrong[i], NULL, &b), -EINVAL);
	assert_int_equal(ps_format(&c, "{{.Label \"a\"}}", NULL, &b), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_of_a_key_are_alternatives_and_keys_are_not),
		cmocka_unit_test(one_that_runs_has_no_exit_status),
		cmocka_unit_test(a_mistake_is_told_without_an_instance),
		cmocka_unit_test(a_format_knows_columns_and_labels),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
