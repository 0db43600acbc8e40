/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "follow.h"
#include "handles.h"
#include "json.h"
#include "options.h"
#include "text.h"

#define EVENT_COLUMNS 10

static void print_event(const struct mvm_event *e)
{
	size_t width = text_width(e->event);
	print_text(stdout, e->time);
	putchar(' ');
	print_text(stdout, e->event);
	printf("%*s", width < EVENT_COLUMNS ? EVENT_COLUMNS + 1 - (int)width : 1, "");
	print_text(stdout, e->instance);
	printf("%s", e->message ? ": " : "");
	print_text(stdout, e->message ? e->message : ""); /* it may quote a guest */
	putchar('\n');
}

static int show(void *arg, const struct mvm_event *e)
{
	const struct cli_context *c = arg;
	if (c->json && json_show(e->json, stdout) < 0)
		return -ENOMEM;
	if (c->json)
		putchar('\n'); /* main looks at the stream's errors, here and below */
	else
		print_event(e);
	return fflush(stdout) == 0 ? 0 : -errno; /* a reader that follows wants each event now */
}

static int run(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO_DONE(follow) follow = FOLLOW_NONE;
	int r = follow_open(c, a, &mvm, &follow);
	if (r < 0)
		return r;
	const struct mvm_events_options options = {
		.size = sizeof(options),
		.since = args_string(a, "since"),
		.follow = args_flag(a, "follow"),
		.cancel_fd = &follow.cancel_fd,
	};
	return follow_result(c, mvm_events(mvm, &options, show, c, &c->err), &follow);
}

static const struct option options[] = {
	{ .name = "follow",
	  .letter = 'f',
	  .kind = OPTION_FLAG,
	  .help = "print new events until ^C is pressed" },
	{ .name = "since",
	  .kind = OPTION_STRING,
	  .value = "TIME",
	  .help = "only newer events: since 2026-01-31T12:00:00Z, or since 10m ago" },
	OPTION_JSON,
	{ 0 },
};

const struct command command_events = {
	.path = "events",
	.summary = "Print instance events",
	.details =
		"The events are started, healthy, unhealthy, paused, resumed, "
		"volumes (some files were not copied), restarting, stopped (by a "
		"command or the time to live), exited (the guest ended by itself), "
		"failed, suspended, not-suspended, forked, refused (a rule kept the guest from "
		"a destination), network "
		"(its rules were changed), ttl (its time to live was), network-down, network-up, "
		"disk-error, renamed and removed. With "
		"--json each event is an object on its own line.",
	.options = options,
	.examples = "mvm events --since 1h\n"
		    "mvm events -f --json",
	.run = run,
};
