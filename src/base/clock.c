/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

static int64_t read_clock(clockid_t id)
{
	struct timespec ts;
	clock_gettime(id, &ts); /* cannot fail for these clocks on Linux */
	return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

int64_t clock_now_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

int64_t clock_wall_ns(void)
{
	return read_clock(CLOCK_REALTIME);
}

int64_t clock_deadline_ns(int64_t timeout_ms)
{
	if (timeout_ms < 0 || timeout_ms > INT64_MAX / NS_PER_MS / 2)
		return DEADLINE_NONE;
	return clock_now_ns() + timeout_ms * NS_PER_MS;
}

int clock_remaining_ms(int64_t deadline_ns)
{
	if (deadline_ns == DEADLINE_NONE)
		return -1;
	int64_t left = deadline_ns - clock_now_ns();
	if (left <= 0)
		return 0;
	int64_t ms = (left + NS_PER_MS - 1) / NS_PER_MS;
	return ms > INT_MAX ? INT_MAX : (int)ms;
}

void clock_format(int64_t unix_seconds, char ret[RFC3339_SIZE])
{
	time_t t = (time_t)unix_seconds;
	struct tm tm;
	bool valid = gmtime_r(&t, &tm);

	/* the format has four digits for the year; a time outside them becomes the nearest one */
	if (unix_seconds < 0 && (!valid || tm.tm_year < -1900))
		snprintf(ret, RFC3339_SIZE, "0000-01-01T00:00:00Z");
	else if (!valid || tm.tm_year > 8099)
		snprintf(ret, RFC3339_SIZE, "9999-12-31T23:59:59Z");
	else
		snprintf(ret, RFC3339_SIZE, "%04u-%02u-%02uT%02u:%02u:%02uZ",
			 (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)(tm.tm_mon + 1) % 100,
			 (unsigned)tm.tm_mday % 100, (unsigned)tm.tm_hour % 100,
			 (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
}

static bool digits(const char **s, int n, int min, int max, int *ret)
{
	int value = 0;
	for (int i = 0; i < n; i++, (*s)++) {
		if (**s < '0' || **s > '9')
			return false;
		value = value * 10 + (**s - '0');
	}
	*ret = value;
	return value >= min && value <= max;
}

static bool one_of(const char **s, char a, char b)
{
	if (**s != a && **s != b)
		return false;
	(*s)++;
	return true;
}

int clock_parse(const char *s, int64_t *ret_unix_seconds)
{
	int year, month, day, hour, minute, second, offset = 0;

	if (!digits(&s, 4, 0, 9999, &year) || !one_of(&s, '-', '-') ||
	    !digits(&s, 2, 1, 12, &month) || !one_of(&s, '-', '-') || !digits(&s, 2, 1, 31, &day) ||
	    !one_of(&s, 'T', 't') || !digits(&s, 2, 0, 23, &hour) || !one_of(&s, ':', ':') ||
	    !digits(&s, 2, 0, 59, &minute) || !one_of(&s, ':', ':') ||
	    !digits(&s, 2, 0, 60, &second))
		return -EINVAL;
	if (*s == '.') {
		const char *start = ++s;
		while (*s >= '0' && *s <= '9')
			s++;
		if (s == start)
			return -EINVAL;
	}
	if (*s == '+' || *s == '-') {
		int sign = *s++ == '-' ? -1 : 1, h, m;
		if (!digits(&s, 2, 0, 23, &h) || !one_of(&s, ':', ':') || !digits(&s, 2, 0, 59, &m))
			return -EINVAL;
		offset = sign * (h * 3600 + m * 60);
	} else if (!one_of(&s, 'Z', 'z')) {
		return -EINVAL;
	}
	if (*s)
		return -EINVAL;

	struct tm tm = {
		.tm_year = year - 1900,
		.tm_mon = month - 1,
		.tm_mday = day,
		.tm_hour = hour,
		.tm_min = minute,
	};
	int64_t seconds = timegm(&tm); /* normalises, so 31 February shows as another day */
	if (tm.tm_mday != day)
		return -EINVAL;
	*ret_unix_seconds = seconds + second - offset;
	return 0;
}
