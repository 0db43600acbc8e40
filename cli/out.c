/* SPDX-License-Identifier: Apache-2.0 */
#include "out.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "hints.h"
#include "json.h"
#include "streams.h"
#include "text.h"

void table_row(struct table *t, ...)
{
	assert(t->columns > 0 && t->columns <= TABLE_COLUMNS_MAX);
	va_list ap;
	va_start(ap, t);
	for (size_t i = 0; i < t->columns; i++) {
		const char *cell = va_arg(ap, const char *);
		strv_add(&t->cells, cell ? cell : "");
	}
	va_end(ap);
}

/* A number, with a unit or without: "3", "62.6 MiB".  Dates, versions and addresses are none. */
static bool is_amount(const char *cell)
{
	size_t digits = strspn(cell, "0123456789.");
	if (digits == 0 || (cell[digits] && cell[digits] != ' '))
		return false;
	for (const char *unit = cell + digits; *unit; unit++) {
		if (*unit != ' ' && !isalpha((unsigned char)*unit))
			return false;
	}
	return true;
}

static void measure(struct table *t, size_t column)
{
	size_t width = t->column[column].width;
	bool right = t->cells.n > t->columns;

	for (size_t i = column; i < t->cells.n; i += t->columns) {
		const char *cell = t->cells.v[i];
		size_t w = text_width(cell);
		if (w > width)
			width = w;
		if (i >= t->columns && *cell && strcmp(cell, "-") != 0 && !is_amount(cell))
			right = false;
	}
	t->column[column].width = width;
	if (!t->begun)
		t->column[column].right = right;
}

static void pad(FILE *out, size_t n)
{
	for (; n > 0; n--)
		fputc(' ', out);
}

int table_print(struct table *t, FILE *out)
{
	assert(t->columns > 0 && t->columns <= TABLE_COLUMNS_MAX);
	if (t->cells.failed)
		return -ENOMEM;
	for (size_t i = 0; i < t->columns; i++)
		measure(t, i);
	for (size_t i = 0; i < t->cells.n; i++) {
		const char *cell = t->cells.v[i];
		size_t column = i % t->columns;
		bool right = t->column[column].right;
		bool last = column + 1 == t->columns;
		size_t space = t->column[column].width - text_width(cell);

		pad(out, right ? space : 0);
		print_text(out, cell);
		if (last)
			fputc('\n', out);
		else
			pad(out, (right ? 0 : space) + 2);
	}
	t->begun = true;
	strv_done(&t->cells);
	return 0;
}

int flush_results(struct cli_context *c)
{
	int failed = ferror(stdout);
	if (fflush(stdout) == 0 && !failed)
		return 0;
	return cli_error(c, errno ? -errno : -EIO, "cannot write the result: %s",
			 errno ? strerror(errno) : "the output is closed");
}

static int status_of(const struct cli_context *c)
{
	if (c->usage)
		return 2;
	return c->failure_status ? c->failure_status : mvm_error_exit_status(c->err.code);
}

static const char *code_name(int code, char *buf, size_t size)
{
	const char *name = strerrorname_np(-code);
	if (name)
		return name;
	snprintf(buf, size, "errno %d", -code);
	return buf;
}

static void show_json(const struct cli_context *c, const char *hint)
{
	AUTO_DONE(jsonw) j = { .compact = true };
	char buf[32];

	jsonw_open(&j, NULL, '{');
	jsonw_open(&j, "error", '{');
	jsonw_string(&j, "code", code_name(c->err.code, buf, sizeof(buf)));
	jsonw_string(&j, "message", c->err.text);
	jsonw_string(&j, "reason", c->err.reason[0] ? c->err.reason : NULL);
	jsonw_string(&j, "subject", c->err.subject[0] ? c->err.subject : NULL);
	jsonw_string(&j, "hint", hint);
	jsonw_u64(&j, "exit_status", (uint64_t)status_of(c));
	jsonw_close(&j);
	jsonw_close(&j);
	jsonw_print(&j, stderr); /* a failure cannot be reported anywhere */
}

/* Errors may quote lines, of a guest's console for one; set off, so that none passes for ours. */
static void print_lines(FILE *out, const char *text)
{
	for (const char *end; (end = strchr(text, '\n')); text = end + 1) {
		AUTO_FREE char *line = strndup(text, (size_t)(end - text));
		print_text(out, line ? line : "");
		fputs("\n  ", out); /* errors of the stream are looked at in the end */
	}
	print_text(out, text);
}

int show_error(const struct cli_context *c, const char *command)
{
	char see[128], of_reason[HINT_SIZE];
	hint_of(&c->err, of_reason);
	if (c->failure_status > 128) /* a signal has ended the command */
		streams_hurry();
	const char *hint = of_reason[0] ? of_reason : NULL;

	if (c->usage && !hint) {
		snprintf(see, sizeof(see), "see 'mvm help%s%s'", command ? " " : "",
			 command ? command : "");
		hint = see;
	}
	if (c->json) {
		show_json(c, hint);
		return status_of(c);
	}
	fputs("mvm: ", stderr);
	print_lines(stderr, c->err.text[0] ? c->err.text : strerror(-c->err.code));
	fputc('\n', stderr);
	if (hint) {
		fputs("hint: ", stderr);
		print_text(stderr, hint);
		fputc('\n', stderr);
	}
	return status_of(c);
}
