/* SPDX-License-Identifier: Apache-2.0 */
#include "base/signals.h"

#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/parse.h"

#define SIGNAL_RTMIN 34u /* as C libraries and container tools count */

/* Names beside those of sigabbrev_np(3). */
static const struct {
	const char *name;
	int signal;
} more_signals[] = { { "CLD", SIGCHLD }, { "IOT", SIGABRT }, { "IO", SIGIO } };

static unsigned signal_named(const char *name)
{
	uint64_t n = 0;

	if (strcasecmp(name, "RTMIN") == 0)
		return SIGNAL_RTMIN;
	if (strcasecmp(name, "RTMAX") == 0)
		return SIGNAL_MAX;
	bool from_min = strncasecmp(name, "RTMIN+", 6) == 0;
	if (from_min || strncasecmp(name, "RTMAX-", 6) == 0) {
		if (parse_u64(name + 6, 1, SIGNAL_MAX - SIGNAL_RTMIN, &n) < 0)
			return 0;
		return from_min ? SIGNAL_RTMIN + (unsigned)n : SIGNAL_MAX - (unsigned)n;
	}
	for (size_t i = 0; i < MVM_ARRAY_SIZE(more_signals); i++) {
		if (strcasecmp(name, more_signals[i].name) == 0)
			return (unsigned)more_signals[i].signal;
	}
	for (unsigned i = 1; i < SIGNAL_RTMIN; i++) {
		const char *known = sigabbrev_np((int)i);
		if (known && strcasecmp(name, known) == 0)
			return i;
	}
	return 0;
}

unsigned signal_parse(const char *s)
{
	uint64_t n = 0;

	if (parse_u64(s + (*s == '+'), 1, SIGNAL_MAX, &n) == 0)
		return (unsigned)n;
	return signal_named(strncasecmp(s, "SIG", 3) == 0 ? s + 3 : s);
}
