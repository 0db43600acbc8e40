/* SPDX-License-Identifier: Apache-2.0 */
#include "run_limits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "base/parse.h"
#include "base/str.h"
#include "instance_state.h"

static bool read_action(const char *text, enum mvm_then *ret)
{
	for (enum mvm_then then = MVM_THEN_STOP; then <= MVM_THEN_SUSPEND; then++) {
		if (!str_eq(text, then_name(then)))
			continue;
		*ret = then;
		return true;
	}
	return false;
}

static int read_idle(struct cli_context *c, const char *text, struct mvm_start_options *o)
{
	AUTO_FREE char *time = strdup(text);
	if (!time)
		return -ENOMEM;
	char *action = strchr(time, '=');
	if (action)
		*action++ = '\0';
	o->on_idle_action = MVM_THEN_SUSPEND;
	if (parse_duration_ms(time, INT32_MAX, &o->on_idle_ms) < 0 || o->on_idle_ms < 10000)
		return cli_usage(c,
				 "option '--on-idle': '%s' is no time of at least 10s, such as "
				 "90s or 30m",
				 time);
	if (action && !read_action(action, &o->on_idle_action))
		return cli_usage(c, "option '--on-idle': '%s' is neither suspend nor stop", action);
	return 0;
}

int run_limits(struct cli_context *c, const struct args *a, struct mvm_start_options *ret)
{
	const char *idle = args_string(a, "on-idle"), *action = args_string(a, "ttl-action");
	ret->ttl_ms = args_ms(a, "ttl", 0);
	if (action && !ret->ttl_ms)
		return cli_usage(c, "--ttl-action says what happens after the --ttl: give one");
	if (action)
		read_action(action, &ret->ttl_action); /* one of its choices */
	int r = idle ? read_idle(c, idle, ret) : 0;
	if (r < 0)
		return r;
	bool suspends = ret->ttl_action == MVM_THEN_SUSPEND ||
			(idle && ret->on_idle_action == MVM_THEN_SUSPEND);
	if (suspends && !args_flag(a, "detach"))
		return cli_usage(c,
				 "only a VM that goes on by itself can be suspended: add "
				 "--detach%s",
				 idle ? ", or write --on-idle TIME=stop" : "");
	if (suspends && args_flag(a, "cold"))
		return cli_usage(c, "a VM that boots (--cold) cannot be suspended");
	return 0;
}
