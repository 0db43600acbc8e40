/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "follow.h"
#include "handles.h"
#include "json.h"
#include "options.h"

/* The last piece of each log, console and workload: a piece may end inside a character, which the
 * next piece completes. */
struct pieces {
	struct piece {
		struct strbuf text;
		char time[40];
	} of[2];
};

static void pieces_done(struct pieces *p)
{
	strbuf_done(&p->of[0].text);
	strbuf_done(&p->of[1].text);
}
DEFINE_AUTO_DONE(pieces, pieces_done)

/* The length of a UTF-8 character of more than one byte, by its first byte. */
static size_t character_bytes(unsigned char first)
{
	if (first >= 0xf0)
		return 4;
	return first >= 0xe0 ? 3 : 2;
}

/* Count the bytes at the end of a text that begin a UTF-8 character and do not complete it. */
static size_t begun_character(const char *s, size_t len)
{
	for (size_t n = 1; n <= 3 && n <= len; n++) {
		unsigned char a = (unsigned char)s[len - n];
		if (a >= 0xc0)
			return n < character_bytes(a) ? n : 0;
		if (a < 0x80)
			return 0;
	}
	return 0;
}

/* With --json: print an object on a line of its own, at once for a reader that follows. */
static int show_piece(struct pieces *p, bool workload, size_t len, bool full)
{
	struct piece *piece = &p->of[workload];
	AUTO_DONE(jsonw) j = { .compact = true };
	AUTO_DONE(strbuf) text = { 0 };

	strbuf_add(&text, len ? piece->text.data : "", len);
	jsonw_open(&j, NULL, '{');
	jsonw_string(&j, "time", piece->time[0] ? piece->time : NULL);
	jsonw_string(&j, "log", workload ? "workload" : "console");
	jsonw_bool(&j, "full", full);
	jsonw_text(&j, "text", &text);
	jsonw_close(&j);
	strbuf_consume(&piece->text, len);
	int r = text.failed ? -ENOMEM : jsonw_print(&j, stdout);
	return r == 0 && fflush(stdout) != 0 ? -errno : r;
}

static int show_entry(void *arg, const struct mvm_log_entry *e)
{
	struct pieces *p = arg;
	struct piece *piece = &p->of[e->workload];

	strbuf_add(&piece->text, e->text, e->len);
	if (piece->text.failed)
		return -ENOMEM;
	snprintf(piece->time, sizeof(piece->time), "%s", e->time);
	size_t len = piece->text.len;
	if (!e->full)
		len -= begun_character(piece->text.data, len);
	return len || e->full ? show_piece(p, e->workload, len, e->full) : 0;
}

/* No further piece can complete these characters. */
static int show_rest(struct pieces *p)
{
	int r = 0;
	for (int i = 0; i < 2 && r == 0; i++) {
		if (p->of[i].text.len)
			r = show_piece(p, i, p->of[i].text.len, false);
	}
	return r;
}

static int run(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO_DONE(follow) follow = FOLLOW_NONE;
	AUTO_DONE(pieces) pieces = { 0 };
	int r = follow_open(c, a, &mvm, &follow);
	if (r < 0)
		return r;
	const uint64_t tail = args_u32(a, "tail", 0);
	const int out_fd = STDOUT_FILENO;
	const struct mvm_logs_options options = {
		.size = sizeof(options),
		.console = args_flag(a, "console"),
		.workload = args_flag(a, "workload"),
		.timestamps = args_flag(a, "timestamps"),
		.tail = args_given(a, "tail") ? &tail : NULL,
		.since = args_string(a, "since"),
		.follow = args_flag(a, "follow"),
		.cancel_fd = &follow.cancel_fd,
		.out_fd = &out_fd,
		.visible = isatty(STDOUT_FILENO) && !args_flag(a, "raw"),
		.fn = c->json ? show_entry : NULL,
		.arg = &pieces,
	};
	r = mvm_instance_logs(mvm, args_at(a, 0), &options, &c->err);
	if (r == 0)
		r = show_rest(&pieces);
	return follow_result(c, r, &follow);
}

static const struct option options[] = {
	{ .name = "follow",
	  .letter = 'f',
	  .kind = OPTION_FLAG,
	  .help = "print new output until the instance ends or ^C is pressed" },
	{ .name = "tail",
	  .letter = 'n',
	  .kind = OPTION_U32,
	  .value = "N",
	  .help = "only the last N lines" },
	{ .name = "since",
	  .kind = OPTION_STRING,
	  .value = "TIME",
	  .help = "only newer output: since 2026-01-31T12:00:00Z, or since 10m ago" },
	{ .name = "timestamps",
	  .letter = 't',
	  .kind = OPTION_FLAG,
	  .help = "begin each line with its time" },
	{ .name = "console",
	  .kind = OPTION_FLAG,
	  .help = "only the output of the kernel, the image's init and the agent" },
	{ .name = "workload",
	  .kind = OPTION_FLAG,
	  .help = "only the output of the template's command" },
	{ .name = "raw",
	  .kind = OPTION_FLAG,
	  .help = "pass the guest's control characters to the terminal: colours, and "
		  "everything else" },
	OPTION_JSON,
	{ 0 },
};

const struct command command_logs = {
	.path = "logs",
	.summary = "Print the output of an instance",
	.details = "An instance has two logs: the guest's console, and the output of "
		   "the template's command. Both are printed, by time, unless you "
		   "choose one. On a terminal, control characters are spelled out, ESC "
		   "as ^[; a file or pipe gets the bytes. With --json each piece of "
		   "output is an object. Its 'full' is false if the next object of "
		   "that log continues the line. --tail counts lines, so a line that "
		   "came in pieces is several objects.",
	.positionals = { { .name = "NAME", .help = "the instance", .hint = VALUE_INSTANCE } },
	.options = options,
	.examples = "mvm logs -f web\n"
		    "mvm logs --workload --tail 20 --since 10m web",
	.run = run,
};
