/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_E2B_LAST_EVENTS_H
#define SERVICE_E2B_LAST_EVENTS_H

/*
 * The events of a watcher until its client asks for them.  If it does not, the last ones are kept:
 * at most LAST_EVENTS_MAX of them, with at most LAST_EVENTS_BYTES_MAX.
 */

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#define LAST_EVENTS_MAX	      4096u
#define LAST_EVENTS_BYTES_MAX ((size_t)1024 * 1024)

struct last_events {
	json_t *list; /* NULL: none */
	size_t bytes;
	uint32_t lengths[LAST_EVENTS_MAX]; /* of each event, a ring */
	size_t first;			   /* the oldest one's place in it */
};

/* Keep an event in place of the oldest ones; takes it over.  Without memory it is lost.
 *
 *   len  its bytes, as the guest's agent sent it; at most LAST_EVENTS_BYTES_MAX */
void last_events_add(struct last_events *l, json_t *event, size_t len);

/* The array of all, the oldest one first, for the caller to own; none is left.  NULL: no memory. */
json_t *last_events_take(struct last_events *l);

#endif
