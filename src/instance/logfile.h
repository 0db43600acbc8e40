/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_LOGFILE_H
#define INSTANCE_LOGFILE_H

/*
 * What a guest says, in files of bounded size: console.log (kernel, init, agent) and workload.log
 * (standard output and error of the template's command).
 *
 * Each line is "2026-01-31T12:00:00.123456789Z F text": when it came, and F for a full line or P
 * for a part that the next entry goes on with; the shape of Kubernetes' CRI logs without their
 * stream name.  So lines can be selected by time and merged, a prompt without a newline is there
 * at once, and no line has more than LOGFILE_PART_MAX bytes.  A file that is full becomes
 * "<name>.1" and a new one begins, so each log takes twice its limit at most.
 *
 * A guest that prints without end costs the host a bounded amount of writing.  An entry that comes
 * within LOGFILE_SAME_NS of the entry with a time before it has "+" in place of its time, so that
 * one byte of the guest's is five in the file at most, and a log takes no more than
 * logfile_rate() bytes a second after a burst of eight times that.  What the guest prints beyond
 * is dropped, and lines of the log's own say so: that it begins, and how many bytes it were.
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
	int dir_fd; /* borrowed */
	const char *name;
	int fd; /* -1: could not be opened again; nothing is written */
	uint64_t bytes, max_bytes;
	int64_t stamp_ns;    /* of the last time in the file; 0: the next entry has one */
	bool line_open;	     /* the last entry is a part */
	int64_t may_write;   /* bytes, now */
	int64_t refilled_ns; /* when that was last reckoned, monotonic */
	uint64_t dropped;    /* bytes of the guest's since the file took the last ones */
	char tail[2 * LOGFILE_TAIL_MAX];
	size_t tail_len;
};

/* Open or go on with the log; max_bytes 0: LOGFILE_MAX_DEFAULT.  name: static. */
int logfile_open(struct logfile *l, int dir_fd, const char *name, uint64_t max_bytes);

/* Bytes a second that a log of this limit takes for long: 1 MiB, or an eighth of a limit above
 * 8 MiB. */
uint64_t logfile_rate(uint64_t max_bytes);

/* Add what has arrived.  A full disk costs lines, not the guest: nothing is reported. */
void logfile_add(struct logfile *l, const void *data, size_t len);

/* The last lines as printable text, ready for an error message; "" when there was nothing. */
const char *logfile_tail(struct logfile *l);

void logfile_close(struct logfile *l);

/* A time as in the log; ns since 1970. */
void logfile_time(int64_t wall_ns, char ret[LOGFILE_TIME_SIZE]);

/* What a person writes for it: "2026-01-31T12:00:00Z", or how long ago, "10m".  NULL changes
 * nothing.  -EINVAL with a sentence. */
int logfile_parse_since(const char *since, char ret[LOGFILE_TIME_SIZE], struct mvm_error *err);

#endif
