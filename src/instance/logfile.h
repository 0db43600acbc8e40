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
#define LOGFILE_LINE_MAX    (LOGFILE_HEADER_SIZE + LOGFILE_PART_MAX + 1)

#define LOGFILE_TAIL_MAX 2048u

struct logfile {
	int dir_fd; /* borrowed */
	const char *name;
	int fd; /* -1: could not be opened again; nothing is written */
	uint64_t bytes, max_bytes;
	char tail[2 * LOGFILE_TAIL_MAX];
	size_t tail_len;
};

/* Open or go on with the log; max_bytes 0: LOGFILE_MAX_DEFAULT.  name: static. */
int logfile_open(struct logfile *l, int dir_fd, const char *name, uint64_t max_bytes);

/* Add what has arrived.  A full disk costs lines, not the guest: nothing is reported. */
void logfile_add(struct logfile *l, const void *data, size_t len);

/* The last of it as printable text, ready for an error message; "" when there was nothing. */
const char *logfile_tail(struct logfile *l);

void logfile_close(struct logfile *l);

/* A time as in the log; ns since 1970. */
void logfile_time(int64_t wall_ns, char ret[LOGFILE_TIME_SIZE]);

/* What a person writes for it: "2026-01-31T12:00:00Z", or how long ago, "10m".  NULL changes
 * nothing.  -EINVAL with a sentence. */
int logfile_parse_since(const char *since, char ret[LOGFILE_TIME_SIZE], struct mvm_error *err);

#endif
