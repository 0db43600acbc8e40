/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_LOGFILE_H
#define INSTANCE_LOGFILE_H

/*
 * A guest's output, in files of bounded size: console.log (kernel, init, agent) and workload.log
 * (standard output and error of the template's command).
 *
 * Each line is "2026-01-31T12:00:00.123456789Z F text": the time of arrival, and F for a full line
 * or P for a part that the next entry continues.  This is the format of Kubernetes' CRI logs
 * without the stream name.  So lines can be selected by time and merged, a prompt without a newline
 * appears at once, and no line has more than LOGFILE_PART_MAX bytes.  A full file becomes
 * "<name>.1" and a new one begins, so each log takes at most twice its limit.
 *
 * A guest that prints without end causes a bounded amount of writing.  An entry within
 * LOGFILE_SAME_NS of the last entry with a time has "+" instead of its time, so one byte of the
 * guest is at most five bytes in the file.  A log takes at most logfile_rate() bytes a second,
 * after a burst of eight times that.  Further output is dropped.  Lines of the log itself report
 * that dropping begins, and how many bytes were dropped.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mvm/error.h>

#include "base/own.h"

#define CONSOLE_LOG_NAME   "console.log"
#define WORKLOAD_LOG_NAME  "workload.log"
#define LOGFILE_OLD_SUFFIX ".1"

#define LOGFILE_MAX_DEFAULT (8u << 20)
#define LOGFILE_PART_MAX    16384u
#define LOGFILE_TIME_SIZE   31u /* "2026-01-31T12:00:00.123456789Z" and NUL */
#define LOGFILE_HEADER_SIZE 33u /* time, space, F or P, space */
#define LOGFILE_SAME	    "+" /* in place of a time and the space behind it */
#define LOGFILE_SAME_NS	    INT64_C(10000000)
#define LOGFILE_LINE_MAX    (LOGFILE_HEADER_SIZE + LOGFILE_PART_MAX + 1)

#define LOGFILE_TAIL_MAX 2048u

struct logfile {
	/* Move the file aside and open a new one: a descriptor or -errno.  NULL: no log. */
	int (*renew)(void *arg);
	void *renew_arg;
	int fd; /* -1: could not be opened again; nothing is written */
	uint64_t bytes, max_bytes;
	int64_t stamp_ns;    /* of the last time in the file; 0: the next entry has one */
	bool line_open;	     /* the last entry is a part */
	int64_t may_write;   /* bytes, now */
	int64_t refilled_ns; /* when may_write was last computed, monotonic */
	uint64_t dropped;    /* bytes of the guest dropped since the last write */
	char tail[2 * LOGFILE_TAIL_MAX];
	size_t tail_len;
	void (*on_add)(void *arg, size_t len); /* output was added; set after opening, or NULL */
	void *arg;
};

/* Open a log's file to append to; aside: move the full one aside first.  Returns a descriptor or
 * -errno. */
int logfile_open(int dir_fd, const char *name, bool aside);

/* Is it at least half full, and does nobody have it or the one before it open for writing?  Then it
 * may be moved aside, and no file stays that has no name.  max_bytes as below. */
bool logfile_may_renew(int dir_fd, const char *name, uint64_t max_bytes);

/* Go on with a log's file, which is taken over; max_bytes 0: LOGFILE_MAX_DEFAULT.  `renew` replaces
 * it when it is full. */
void logfile_take(struct logfile *l, int fd, uint64_t max_bytes, int (*renew)(void *arg),
		  void *arg);

/* Bytes a second that a log of this limit takes continuously: 1 MiB, or an eighth of a limit above
 * 8 MiB. */
uint64_t logfile_rate(uint64_t max_bytes);

/* Add output.  A full disk loses lines but must not harm the guest, so nothing is reported. */
void logfile_add(struct logfile *l, const void *data, size_t len);

/* The last lines as printable text, ready for an error message; "" without output. */
const char *logfile_tail(struct logfile *l);

void logfile_close(struct logfile *l);

/* A time as in the log; ns since 1970. */
void logfile_time(int64_t wall_ns, char ret[LOGFILE_TIME_SIZE]);

/* Parse a time from the user: "2026-01-31T12:00:00Z", or "10m" ago.  NULL changes nothing.  -EINVAL
 * with a sentence. */
int logfile_parse_since(const char *since, char ret[LOGFILE_TIME_SIZE], struct mvm_error *err);

#endif
