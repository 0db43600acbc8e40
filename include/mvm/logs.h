/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_LOGS_H
#define MVM_LOGS_H

/* What instances print, and what happens to them (mvm/instance.h). */

#include <mvm/error.h>
#include <mvm/mvm.h>
#include <mvm/struct.h>
#include <mvm/visibility.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Something that happened to an instance.  All borrowed; message may be NULL. */
struct mvm_event {
	const char *time; /* RFC 3339 with nanoseconds */
	/* One of: started, healthy, unhealthy, paused, resumed, suspended, not-suspended, forked,
	 * volumes, restarting, stopped, network, refused, network-down, network-up, disk-error,
	 * exited, failed, ttl, renamed, removed.  Later versions may add some. */
	const char *event;
	const char *instance, *template_id;
	const char *message;
	const char *json; /* the whole event on one line, with its instance's labels */
};

/* Returns 0 to go on; more ends the reading; a negative errno ends it with that error. */
typedef int (*mvm_event_fn)(void *arg, const struct mvm_event *event);

struct mvm_events_options {
	size_t size;	      /* MVM_EVENTS_OPTIONS_INIT sets it (mvm/struct.h) */
	const char *since;    /* as in struct mvm_logs_options */
	bool follow;	      /* go on until cancel_fd is readable */
	const int *cancel_fd; /* NULL: none */
};
#define MVM_EVENTS_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_events_options)

/*
 * Read the events of all instances, the oldest first.  The last four to eight megabytes are kept.
 *
 *   options  borrowed; NULL: all events, and no following
 *   fn       called with each event, on this thread
 *   arg      for fn
 *
 * Returns 0 at the end of the events, or when fn or cancel_fd has ended the reading.
 * Errors: -EINVAL (since), fn's, and those of reading files.
 */
MVM_API int mvm_events(struct mvm *mvm, const struct mvm_events_options *options, mvm_event_fn fn,
		       void *arg, struct mvm_error *err);

/* A piece of a log.  All borrowed. */
struct mvm_log_entry {
	const char *time; /* of arrival, RFC 3339 with nanoseconds; "" when unknown */
	bool workload;	  /* from the workload; false: from the console */
	bool full;	  /* ends a line; otherwise this log's next entry goes on with the line */
	const char *text; /* len bytes of whatever the guest printed, without the newline */
	size_t len;
};

/* Returns 0 to go on; a negative errno ends the reading with it. */
typedef int (*mvm_log_fn)(void *arg, const struct mvm_log_entry *entry);

struct mvm_logs_options {
	size_t size;	      /* MVM_LOGS_OPTIONS_INIT sets it (mvm/struct.h) */
	bool console;	      /* output of the kernel, the image's init and the agent */
	bool workload;	      /* output of the template's command; neither is set: both */
	bool timestamps;      /* begin each line with its time of arrival */
	const uint64_t *tail; /* only this many of the last lines; NULL: all */
	const char *since;    /* only newer entries: RFC 3339, or "10m" ago; NULL: all */
	bool follow;	      /* go on until the instance has ended */
	const int *cancel_fd; /* readable: wait no more, for output or for out_fd; NULL: none */
	const int *out_fd;    /* receives the log; may be NULL with fn */
	bool visible;	      /* for terminals: print control characters as text, ESC as "^[" */
	/* Receives the entries instead of out_fd.  `timestamps` and `visible` are then its
	 * business. NULL: none. */
	mvm_log_fn fn;
	void *arg;
};
#define MVM_LOGS_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_logs_options)

/*
 * Copy an instance's output to a descriptor, the oldest first.
 *
 * Each of its two logs keeps between one and two times its size limit.  Once cancel_fd is readable,
 * the call writes the rest as long as out_fd takes it at once, and returns 0.  Errors: -EINVAL
 * (since), -ENOENT, and those of write(2).
 */
MVM_API int mvm_instance_logs(struct mvm *mvm, const char *name,
			      const struct mvm_logs_options *options, struct mvm_error *err);

#endif
