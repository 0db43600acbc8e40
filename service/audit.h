/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_AUDIT_H
#define SERVICE_AUDIT_H

/*
 * Who did what: one JSON object per line in logs/audit.jsonl of the data folder.
 *
 *	{"time":"2026-11-30T12:00:00Z","client":"token:ci","from":"192.0.2.7","method":"POST",
 *	 "path":"/v1/instances","instance":"web-1","status":201,"ms":12}
 *
 * It has each request that may change something, and each one that was refused (401, 403, 429).
 * Queries and bodies are left out, because they may hold secrets.  Each line is one write(2) to a
 * file opened with O_APPEND.  A file over AUDIT_MAX_BYTES becomes audit.jsonl.1.
 *
 * What nobody knows who asked for, such as requests without a token, is in audit-unknown.jsonl.
 * Anyone can write as many of those lines as they like, and so would remove all others.
 *
 * The loop only.  A disk that takes no more lines loses them; the log says so once.
 */

#include <mvm/error.h>
#include <stddef.h>
#include <stdint.h>

#define AUDIT_NAME	   "audit.jsonl"
#define AUDIT_UNKNOWN_NAME "audit-unknown.jsonl"
#define AUDIT_MAX_BYTES	   ((int64_t)16 << 20)

struct audit {
	const char *name;
	int dir_fd, fd;
	int64_t bytes; /* of the file */
	uint64_t lost; /* lines, since one was written */
};
#define AUDIT_NONE                                                                                 \
	{                                                                                          \
		.dir_fd = -1, .fd = -1                                                             \
	}

struct audit_line {
	const char *client; /* "token:ci", "uid:0"; NULL: nobody knows */
	const char *from;   /* address; NULL: a Unix socket */
	const char *method, *path;
	const char *instance;  /* or NULL */
	const char *operation; /* its id; or NULL */
	unsigned status;
	const char *code; /* of a failure; or NULL */
	int64_t ms;
};

/* Open a log in the data folder's logs/, which is made.  name: static.  audit_close() *ret. */
int audit_open(const char *data_dir, const char *name, struct audit *ret, struct mvm_error *err);
void audit_close(struct audit *a);

void audit_write(struct audit *a, const struct audit_line *line);

#endif
