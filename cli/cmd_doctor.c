/* SPDX-License-Identifier: Apache-2.0 */
#include <mvm/doctor.h>
#include <stdio.h>
#include <string.h>

#include "handles.h"
#include "hints.h"
#include "json.h"
#include "options.h"
#include "text.h"

#define TEXT_COLUMN 22

DEFINE_LIST(mvm_check, mvm_check_list_free)

static const char *const levels[] = {
	[MVM_CHECK_OK] = "ok",
	[MVM_CHECK_WARN] = "warn",
	[MVM_CHECK_FAIL] = "fail",
};

/* The remedy; NULL when nothing needs mending. */
static const char *mend_of(const struct mvm_check *check, char buf[HINT_SIZE])
{
	return check->mend ? check->mend : hint_of_reason(check->reason, check->subject, buf);
}

static int print_json(const struct mvm_check_list *l, int worst)
{
	AUTO_DONE(jsonw) j = { 0 };
	char buf[HINT_SIZE];
	jsonw_open(&j, NULL, '{');
	jsonw_string(&j, "result", levels[worst]);
	jsonw_open(&j, "checks", '[');
	for (size_t i = 0; i < l->n; i++) {
		jsonw_open(&j, NULL, '{');
		jsonw_string(&j, "name", l->v[i]->name);
		jsonw_string(&j, "level", levels[l->v[i]->level]);
		jsonw_string(&j, "message", l->v[i]->text);
		jsonw_string(&j, "mend", mend_of(l->v[i], buf));
		jsonw_close(&j);
	}
	jsonw_close(&j);
	jsonw_close(&j);
	return jsonw_print(&j, stdout);
}

/* Print the command whole, on one line, so that it can be copied. */
static void print_check(const struct mvm_check *check)
{
	printf("%-5s %-*s ", levels[check->level], TEXT_COLUMN - 7, check->name);
	print_text(stdout, check->text);
	char buf[HINT_SIZE];
	const char *mend = mend_of(check, buf);
	if (mend) {
		printf("\n%*s", TEXT_COLUMN, "mend: ");
		print_text(stdout, mend);
	}
	putchar('\n');
}

/* The failures on one line, for the program that takes this host out of service. */
static void print_failures(const struct mvm_check_list *l)
{
	size_t n = 0;

	for (size_t i = 0; i < l->n; i++) {
		if (l->v[i]->level != MVM_CHECK_FAIL)
			continue;
		printf("%s%s: ", n++ ? "; " : "", l->v[i]->name);
		print_text(stdout, l->v[i]->text);
	}
	if (n)
		putchar('\n');
}

static int run(struct cli_context *c, const struct args *a)
{
	AUTO_DONE(mvm_check_list) list = { 0 };

	int worst = mvm_doctor(c->data_dir, NULL, &list.v, &list.n, &c->err);
	if (worst < 0)
		return worst;
	int r = 0;
	bool check = args_flag(a, "check");
	if (c->json)
		r = print_json(&list, worst);
	else if (check)
		print_failures(&list);
	for (size_t i = 0; i < list.n && !c->json && !check; i++)
		print_check(list.v[i]);
	return r < 0 ? r : worst == MVM_CHECK_FAIL;
}

static const struct option options[] = {
	{ .name = "check",
	  .kind = OPTION_FLAG,
	  .help = "print nothing but, on one line, the checks that fail" },
	OPTION_JSON,
	{ 0 },
};

const struct command command_doctor = {
	.path = "doctor",
	.summary = "Check this host, and show how to mend what is missing or slow",
	.details = "Checks the data folder, the accelerator, the backends, mvm's own "
		   "programs, and whether this host can restore the snapshots. A "
		   "result is ok, warn (something is missing or slow) or fail (no VM "
		   "can be built or run). The exit status is 1 if a check fails.",
	.examples = "mvm doctor\n"
		    "mvm doctor --check || drain-this-host\n"
		    "mvm doctor --json",
	.options = options,
	.run = run,
};
