/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

/* Time: monotonic nanoseconds for deadlines and durations, RFC 3339 UTC for people. */

#include <stdint.h>

#define NS_PER_MS     INT64_C(1000000)
#define NS_PER_S      INT64_C(1000000000)
#define DEADLINE_NONE INT64_MAX

int64_t clock_now_ns(void);		       /* CLOCK_MONOTONIC */
int64_t clock_wall_ns(void);		       /* CLOCK_REALTIME, since 1970 */
int64_t clock_deadline_ns(int64_t timeout_ms); /* now plus timeout; DEADLINE_NONE if negative */

/* Milliseconds left, rounded up, for poll(2) and epoll_wait(2); -1: no deadline, 0: it is past. */
int clock_remaining_ms(int64_t deadline_ns);

#define RFC3339_SIZE 32

/* "2025-03-01T00:00:00Z" for the seconds since 1970. */
void clock_format(int64_t unix_seconds, char ret[RFC3339_SIZE]);

/* Accepts offsets and fractions (RFC 3339 section 5.6).  Returns 0 or -EINVAL. */
int clock_parse(const char *s, int64_t *ret_unix_seconds);

#endif
