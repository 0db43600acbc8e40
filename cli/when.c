/* SPDX-License-Identifier: Apache-2.0 */
#include "when.h"

#include <string.h>
#include <time.h>

void when_text(int64_t unix_seconds, char ret[WHEN_SIZE])
{
	time_t t = (time_t)unix_seconds;
	struct tm tm;

	if (!unix_seconds || !gmtime_r(&t, &tm) ||
	    !strftime(ret, WHEN_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm))
		memcpy(ret, "-", 2);
}
