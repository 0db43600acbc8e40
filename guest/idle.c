/* SPDX-License-Identifier: Apache-2.0 */
#include "idle.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/own.h"

#define LOOK_MS	   60 /* /proc/uptime counts in 10 */
#define BUSY_TENTH 2  /* of ten: looking itself takes a few milliseconds under TCG */

static bool parse_hundredths(const char **text, uint64_t *ret)
{
	char *end;
	uint64_t whole = strtoull(*text, &end, 10);
	if (end == *text || *end != '.' || strspn(end + 1, "0123456789") != 2)
		return false;
	*ret = whole * 100 + strtoull(end + 1, &end, 10);
	*text = end + strspn(end, " \n");
	return true;
}

bool idle_parse(const char *text, uint64_t *ret_up, uint64_t *ret_idle)
{
	return parse_hundredths(&text, ret_up) && parse_hundredths(&text, ret_idle);
}

static bool look(int fd, uint64_t *ret_up, uint64_t *ret_idle)
{
	char text[64];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = '\0';
	return idle_parse(text, ret_up, ret_idle);
}

void idle_wait(struct agent *a, int max_ms)
{
	const struct timespec pause = { .tv_nsec = LOOK_MS * NS_PER_MS };
	int64_t deadline_ns = clock_deadline_ns(max_ms);
	uint64_t cpus = (uint64_t)sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t up, idle, up_before, idle_before;
	AUTO_CLOSE int fd = open("/proc/uptime", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || !look(fd, &up_before, &idle_before))
		return;
	do {
		nanosleep(&pause, NULL); /* a signal only shortens it */
		children_reap(&a->children);
		if (!look(fd, &up, &idle))
			return;
		uint64_t all = (up - up_before) * cpus, busy = all - (idle - idle_before);
		/* the two numbers are rounded, so busy may be less than nothing */
		if ((int64_t)busy * 10 <= (int64_t)all * BUSY_TENTH)
			return;
		up_before = up;
		idle_before = idle;
	} while (clock_now_ns() < deadline_ns);
}
