/* SPDX-License-Identifier: Apache-2.0 */
#include "progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/str.h"
#include "hints.h"
#include "json.h"
#include "text.h"

#define BAR_WIDTH 20

void progress_view_init(struct progress_view *v, bool json)
{
	const char *term = getenv("TERM");
	*v = (struct progress_view){
		.terminal = isatty(STDERR_FILENO) == 1 && term && !str_eq(term, "dumb"),
		.json = json,
	};
	/* a line is one write; a part of a line is flushed where it is printed */
	setvbuf(stderr, NULL, _IOLBF, 0);
}

/* 850 us, 12 ms, 3.4 s, 2 min 5 s */
static void say_duration(int64_t ns, char *ret, size_t size)
{
	int64_t us = ns / 1000, ms = us / 1000;

	if (us < 1000)
		snprintf(ret, size, "%" PRId64 " us", us);
	else if (ms < 1000)
		snprintf(ret, size, "%" PRId64 " ms", ms);
	else if (ms < 60000)
		snprintf(ret, size, "%" PRId64 ".%" PRId64 " s", ms / 1000, ms % 1000 / 100);
	else
		snprintf(ret, size, "%" PRId64 " min %" PRId64 " s", ms / 60000, ms / 1000 % 60);
}

/* Start the step's line, over again if it is there already. */
static void open_line(struct progress_view *v, const char *text)
{
	if (v->line_open && v->terminal)
		fputs("\r\033[K", stderr);
	if (!v->line_open || v->terminal) {
		print_text(stderr, text);
		fputs(" ...", stderr);
	}
	v->line_open = true;
}

/* [#####---------------]  25%  256 MiB of 1.0 GiB */
static void say_bytes(const struct mvm_progress_event *event, char *ret, size_t size)
{
	char done[32], total[32], bar[BAR_WIDTH + 1];

	str_bytes(event->done_bytes, done, sizeof(done));
	if (!event->total_bytes) {
		snprintf(ret, size, "%s", done);
		return;
	}
	str_bytes(event->total_bytes, total, sizeof(total));
	double part = (double)event->done_bytes / (double)event->total_bytes;
	int filled = part < 1 ? (int)(part * BAR_WIDTH) : BAR_WIDTH;
	memset(bar, '-', BAR_WIDTH);
	memset(bar, '#', (size_t)filled);
	bar[BAR_WIDTH] = '\0';
	snprintf(ret, size, "[%s] %3d%%  %s of %s", bar, part < 1 ? (int)(part * 100) : 100, done,
		 total);
}

/* ", 80 MiB/s", where a window is wide enough for the step's name, too */
static void add_rate(const struct mvm_progress_event *event, unsigned columns, char *bytes,
		     size_t size)
{
	const size_t len = strlen(bytes);
	char rate[24];

	if (columns < TEXT_COLUMNS || event->elapsed_ns < 1000000)
		return;
	str_bytes((uint64_t)((double)event->done_bytes * 1e9 / (double)event->elapsed_ns), rate,
		  sizeof(rate));
	snprintf(bytes + len, size - len, ", %s/s", rate);
}

/* One line that fits, because a wrapped line could not be erased.  The step's name is cut. */
static void show_bytes(struct progress_view *v, const struct mvm_progress_event *event)
{
	struct winsize window = { 0 };
	char bytes[128];

	say_bytes(event, bytes, sizeof(bytes));
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) < 0 || window.ws_col == 0)
		window.ws_col = TEXT_COLUMNS;
	add_rate(event, window.ws_col, bytes, sizeof(bytes));
	size_t taken = strlen(bytes) + strlen(" ... ") + 1;
	size_t room = window.ws_col > taken ? window.ws_col - taken : 0;

	fputs("\r\033[K", stderr);
	print_start(stderr, event->text, room);
	fprintf(stderr, " ... %s", bytes);
	v->line_open = true;
}

static void show_end(struct progress_view *v, const struct mvm_progress_event *event)
{
	char time[32], bytes[32];

	open_line(v, event->text);
	say_duration(event->elapsed_ns, time, sizeof(time));
	fprintf(stderr, " %s", time);
	str_bytes(event->done_bytes, bytes, sizeof(bytes));
	if (event->detail || event->done_bytes) {
		fputs(" (", stderr);
		print_text(stderr, event->detail ? event->detail : bytes);
		fputc(')', stderr);
	}
	progress_view_leave(v);
}

static void show_text(struct progress_view *v, const struct mvm_progress_event *event)
{
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
		fputs(" failed", stderr);
		progress_view_leave(v);
		break;
	case MVM_PROGRESS_NOTE:
		progress_view_leave(v);
		print_text(stderr, event->text);
		fputc('\n', stderr);
		break;
	case MVM_PROGRESS_WAIT:
		break;
	}
	fflush(stderr);
}

static void show_json(const struct mvm_progress_event *event)
{
	static const char *const names[] = {
		[MVM_PROGRESS_BEGIN] = "begin",
		[MVM_PROGRESS_UPDATE] = "update",
		[MVM_PROGRESS_END] = "end",
		[MVM_PROGRESS_FAILED] = "failed",
	};
	AUTO_DONE(jsonw) j = { .compact = true };

	jsonw_open(&j, NULL, '{');
	if (event->kind == MVM_PROGRESS_NOTE) {
		jsonw_open(&j, "note", '{');
		jsonw_string(&j, "message", event->text);
	} else {
		jsonw_open(&j, "progress", '{');
		jsonw_string(&j, "event", names[event->kind]);
		jsonw_string(&j, "step", event->text);
		jsonw_string(&j, "detail", event->detail);
		jsonw_u64(&j, "done_bytes", event->done_bytes);
		jsonw_u64(&j, "total_bytes", event->total_bytes);
		jsonw_u64(&j, "elapsed_ns", (uint64_t)event->elapsed_ns);
	}
	jsonw_close(&j);
	jsonw_close(&j);
	jsonw_print(&j, stderr); /* work goes on if its progress cannot be shown */
}

int progress_view_event(void *arg, const struct mvm_progress_event *event)
{
	struct progress_view *v = arg;

	if (event->kind == MVM_PROGRESS_WAIT)
		return 0;
	if (v->json)
		show_json(event);
	else
		show_text(v, event);
	return 0;
}

void progress_view_leave(struct progress_view *v)
{
	if (v->line_open)
		fputc('\n', stderr);
	v->line_open = false;
}

void note_error(const struct cli_context *c, const struct mvm_error *err)
{
	char hint[HINT_SIZE], text[MVM_ERROR_TEXT_SIZE + HINT_SIZE + 2];
	hint_of(err, hint);
	snprintf(text, sizeof(text), "%s%s%s", err->text, hint[0] ? "; " : "", hint);
	note(c, text);
}

void note(const struct cli_context *c, const char *text)
{
	struct mvm_progress_event event = { .kind = MVM_PROGRESS_NOTE, .text = text };
	c->progress.fn(c->progress.arg, &event);
}
