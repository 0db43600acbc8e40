/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_PROGRESS_H
#define MVM_PROGRESS_H

#include <mvm/struct.h>
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
 * Who hears of long work, and what stops it; calls that can take long take a pointer to one, or
 * NULL.
 *
 *   size       MVM_PROGRESS_INIT sets it (mvm/struct.h)
 *   fn         called on the calling thread; the event and its texts are valid only during the
 * call; must not call back into the library.  Returns 0 to go on; anything else stops the work at
 * its next step or tenth of a second, and the call fails with -ECANCELED.  NULL: nobody hears arg
 * handed to fn cancel_fd  points to a descriptor that stops the work, waiting included, once it is
 * readable (eventfd(2), signalfd(2), a pipe): the call fails with -ECANCELED and leaves what a
 *              failure of that call leaves.  The library only polls it.  NULL, or a negative
 *              descriptor: none
 */
struct mvm_progress {
	size_t size;
	int (*fn)(void *arg, const struct mvm_progress_event *event);
	void *arg;
	const int *cancel_fd;
};
#define MVM_PROGRESS_INIT MVM_STRUCT_INIT(struct mvm_progress)

#endif
