/* SPDX-License-Identifier: Apache-2.0 */
#include "agent.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

/*
 * Print a line in one write, so that lines of the agent and the workload do not mix.  The console
 * is descriptor 0, since 1 and 2 become the workload's (workload.c).
 */
void agent_log(const char *fmt, ...)
{
	char line[1024];
	int at = snprintf(line, sizeof(line), "mvm-agent: ");
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(line + at, sizeof(line) - (size_t)at - 1, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	size_t len = strlen(line);
	line[len++] = '\n';
	(void)!write(STDIN_FILENO, line, len); /* a failure could not be reported anywhere */
}

void agent_stage(struct agent *a, const char *name)
{
	strv_addf(&a->stages, "%s=%lld", name, (long long)clock_now_ns());
}
