/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_REQUEST_H
#define GUEST_REQUEST_H

/* The arguments of a call, parsed once from the fields of its FRAME_CALL. */

#include <stdbool.h>
#include <stdint.h>

#include <mvm/error.h>

#include "base/str.h"

#define ENTROPY_MIN    32u
#define ENTROPY_MAX    512u
#define HOSTNAME_MAX   64u
#define GENERATION_MAX 256u
#define TIMEOUT_MS_MAX (UINT64_C(24) * 3600 * 1000)

struct request {
	uint64_t call;
	struct strv args, env, restore_args;
	char *hostname, *machine_id, *generation, *boot_id; /* NULL: not given, as for all text */
	char *address, *gateway, *dns;
	char *workdir, *user, *health_http;
	char *path, *name, *note;
	uint8_t entropy[ENTROPY_MAX];
	uint64_t entropy_len;
	uint64_t time_ns, interval_ms, timeout_ms, health_tcp; /* 0: not given */
	uint64_t memory_bytes, stop_signal, pid;
	uint64_t tty, rows, columns, has_stdin, contents, follow, holes, back, sever, sync;
	uint64_t hold, owner, size, restore_signal, restore_restart, no_workload;
	uint64_t port;
};

/*
 * Parse and check a payload.
 *
 *   ret  the caller frees it with request_done(), also after a failure
 *
 * Returns 0, -EPROTO (not a sequence of fields, or no CALL), -EINVAL (a value is out of range)
 * or -ENOMEM, with a sentence.  Skips unknown fields.  If a single field repeats, the last one
 * counts.
 */
int request_parse(const void *payload, size_t len, struct request *ret, struct mvm_error *err);

void request_done(struct request *q);
DEFINE_AUTO_DONE(request, request_done)

#endif
