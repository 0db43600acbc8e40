/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_PROGRESS_H
#define MVM_PROGRESS_H

#include <mvm/struct.h>
#include <stdint.h>

/*
 * Progress reports of long work.
 *
 * Work consists of steps, one at a time: BEGIN, any number of UPDATEs, then END or FAILED.  A
 * NOTE says something worth knowing (a warning, the reason for a cold boot) and may come at any
 * time.  While the work waits for a guest, another process or a lock, a WAIT comes every tenth of a
 * second, in a step or outside of one.  The library never prints; the receiver decides what to do
 * with an event, and ignores kinds that it does not know.
 */
enum mvm_progress_kind {
	MVM_PROGRESS_BEGIN,
	MVM_PROGRESS_UPDATE,
	MVM_PROGRESS_END,
	MVM_PROGRESS_FAILED, /* the step stopped; the call that ran it returns the error */
	MVM_PROGRESS_NOTE,
	MVM_PROGRESS_WAIT, /* nothing new; a chance to stop the work */
};

/* Made by the library; later versions append members. */
struct mvm_progress_event {
	enum mvm_progress_kind kind;
	const char *text;     /* the step's name or the note: lower case, no full stop; WAIT: "" */
	const char *detail;   /* END: the outcome ("cached", "256 MiB"); may be NULL */
	uint64_t done_bytes;  /* UPDATE and END: 0 when the step does not count bytes */
	uint64_t total_bytes; /* 0 when unknown */
	int64_t elapsed_ns;   /* since BEGIN */
};

/*
 * Receiver of progress, and a way to stop the work.  Calls that can take long take a pointer to
 * one, or NULL.  An older library refuses a newer one as it refuses options (mvm/struct.h).
 */
struct mvm_progress {
	size_t size; /* MVM_PROGRESS_INIT sets it (mvm/struct.h) */

	/* Called on the calling thread; NULL: no reports.  The event and its texts are valid only
	 * during the call.  Must not call back into the library.  Returns 0 to go on; anything else
	 * stops the work, the step under way included, and the call fails with -ECANCELED. */
	int (*fn)(void *arg, const struct mvm_progress_event *event);
	void *arg; /* for fn */

	/* Stops the work, waiting included, once the descriptor is readable (eventfd(2),
	 * signalfd(2), a pipe).  The call then fails with -ECANCELED and leaves behind what its
	 * other failures leave.  The library only polls the descriptor.  NULL, or a negative
	 * descriptor: none. */
	const int *cancel_fd;
};
#define MVM_PROGRESS_INIT MVM_STRUCT_INIT(struct mvm_progress)

#endif
