/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_EVENTS_H
#define INSTANCE_EVENTS_H

/*
 * Events of instances, one JSON object per line in logs/events.jsonl:
 *
 *	{"event":"started","instance":"web-1","message":"restored in 68 ms","revision_hash":"...",
 *	 "template_id":"web","time":"2026-01-31T12:00:00.123456789Z"}
 *
 * Supervisors and commands append to it, each line with one write(2) to a file opened with
 * O_APPEND, so lines stay whole without a lock.  A file over EVENTS_MAX_BYTES becomes
 * events.jsonl.1 and a new one begins.  The events are only for information: one that cannot be
 * written is lost, without further harm.
 */

#include <mvm/stream.h>

#include "instance/record.h"

#define EVENTS_NAME	 "events.jsonl"
#define EVENTS_MAX_BYTES (4 << 20)
#define EVENTS_TEXT_MAX	 2048u /* of a message; the rest is cut off */

/*
 * Append one.
 *
 *   logs_fd  the folder; negative: do nothing
 *   event    "started", ...
 *   r        the instance; only the user's instances have events
 *   message  for people; NULL for none.  Control characters but newline and tab become '?'
 */
void events_add(int logs_fd, const char *event, const struct record *r, const char *message);

/* Append "renamed", with the record's former name. */
void events_renamed(int logs_fd, const struct record *r);

/* See mvm_event_stream_open(). */
int event_stream_open(int logs_fd, const struct mvm_event_stream_options *options,
		      struct mvm_event_stream **ret, struct mvm_error *err);

static inline void auto_ptr_mvm_event_stream(struct mvm_event_stream **p)
{
	mvm_event_stream_close(*p);
}

/* Read all events, then, if asked to, follow until cancel_fd is readable; see mvm_events(). */
int events_read(int logs_fd, const struct mvm_event_stream_options *options, int cancel_fd,
		mvm_event_fn fn, void *arg, struct mvm_error *err);

#endif
