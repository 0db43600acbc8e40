/* SPDX-License-Identifier: Apache-2.0 */
#include "progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/str.h"
#include "json.h"
#include "text.h"

void progress_view_init(struct progress_view *v, bool json)
{
	const char *term = getenv("TERM");
	*v = (struct progress_view){
		.terminal = isatty(STDERR_FILENO) == 1 && term && !str_eq(term, "dumb"),
		.json = json,
	};
}

/* 850 us, 12 ms, 3.4 s, 2 min 5 s */
static void say_duration(int64_t ns, char *ret, size_t size)
{
	int64_t us = ns / 1000, ms = us / 1000;

	if (us < 1000)
		(void)snprintf(ret, size, "%" PRId64 " us", us);
	else if (ms < 1000)
		(void)snprintf(ret, size, "%" PRId64 " ms", ms);
	else if (ms < 60000)
		(void)snprintf(ret, size, "%" PRId64 ".%" PRId64 " s", ms / 1000, ms % 1000 / 100);
	else
		(void)snprintf(ret, size, "%" PRId64 " min %" PRId64 " s", ms / 60000,
			       ms / 1000 % 60);
}

/* Start the step's line, over again if it is there already. */
static void open_line(struct progress_view *v, const char *text)
{
	if (v->line_open && v->terminal)
		(void)fputs("\r\033[K", stderr);
	if (!v->line_open || v->terminal) {
		print_text(stderr, text);
		(void)fputs(" ...", stderr);
	}
	v->line_open = true;
}

static void show_bytes(struct progress_view *v, const struct mvm_progress_event *event)
{
	char done[32], total[32];

	open_line(v, event->text);
	str_bytes(event->done_bytes, done, sizeof(done));
	if (event->total_bytes) {
		str_bytes(event->total_bytes, total, sizeof(total));
		(void)fprintf(stderr, " %s of %s, %" PRIu64 "%%", done, total,
			      event->done_bytes / (event->total_bytes / 100 + 1));
	} else {
		(void)fprintf(stderr, " %s", done);
	}
}

static void show_end(struct progress_view *v, const struct mvm_progress_event *event)
{
	char time[32];

	open_line(v, event->text);
	say_duration(event->elapsed_ns, time, sizeof(time));
	(void)fprintf(stderr, " %s", time);
	if (event->detail) {
		(void)fputs(" (", stderr);
		print_text(stderr, event->detail);
		(void)fputc(')', stderr);
	}
	progress_view_leave(v);
}

static void show_note_json(const char *text)
{
	AUTO_DONE(jsonw) j = { .compact = true };
	jsonw_open(&j, NULL, '{');
	jsonw_open(&j, "note", '{');
	jsonw_string(&j, "message", text);
	jsonw_close(&j);
	jsonw_close(&j);
	(void)jsonw_print(&j, stderr); /* a note that cannot be shown stops nothing */
}

void progress_view_event(void *arg, const struct mvm_progress_event *event)
{
	struct progress_view *v = arg;

	if (v->json) {
		if (event->kind == MVM_PROGRESS_NOTE)
			show_note_json(event->text);
		return;
	}
	switch (event->kind) {
	case MVM_PROGRESS_BEGIN:
		progress_view_leave(v);
		open_line(v, event->text);
		break;
	case MVM_PROGRESS_UPDATE:
		if (v->terminal)
			show_bytes(v, event);
		break;
	case MVM_PROGRESS_END:
		show_end(v, event);
		break;
	case MVM_PROGRESS_FAILED:
		open_line(v, event->text);
		(void)fputs(" failed", stderr);
		progress_view_leave(v);
		break;
	case MVM_PROGRESS_NOTE:
		progress_view_leave(v);
		print_text(stderr, event->text);
		(void)fputc('\n', stderr);
		break;
	}
}

void progress_view_leave(struct progress_view *v)
{
	if (v->line_open)
		(void)fputc('\n', stderr);
	v->line_open = false;
}

void note(const struct cli_context *c, const char *text)
{
	struct mvm_progress_event event = { .kind = MVM_PROGRESS_NOTE, .text = text };
	c->progress.fn(c->progress.arg, &event);
}
