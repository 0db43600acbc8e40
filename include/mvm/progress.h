/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_PROGRESS_H
#define MVM_PROGRESS_H

#include <stdint.h>

/*
 * What long work reports while it goes on.
 *
 * Work consists of steps, one at a time: BEGIN, any number of UPDATEs, then END or FAILED.  A
 * NOTE says something worth knowing (a warning, the reason for a cold boot) and may come at any
 * time.  The library never prints; what becomes of an event is up to the receiver.
 */
enum mvm_progress_kind {
	MVM_PROGRESS_BEGIN,
	MVM_PROGRESS_UPDATE,
	MVM_PROGRESS_END,
	MVM_PROGRESS_FAILED, /* the step stopped; the call that ran it returns the error */
	MVM_PROGRESS_NOTE,
};

struct mvm_progress_event {
	enum mvm_progress_kind kind;
	const char *text;     /* the step's name or the note: lower case, no full stop */
	const char *detail;   /* END: what came of it ("cached", "256 MiB"); may be NULL */
	uint64_t done_bytes;  /* UPDATE and END: 0 when the step does not count bytes */
	uint64_t total_bytes; /* 0 when unknown */
	int64_t elapsed_ns;   /* since BEGIN */
};

/*
 * A receiver of events; calls that report take a pointer to one, or NULL.
 *
 *   fn   called on the calling thread; the event and its texts are valid only during the call;
 *        must not call back into the library
 *   arg  handed to fn
 */
struct mvm_progress {
	void (*fn)(void *arg, const struct mvm_progress_event *event);
	void *arg;
};

#endif
