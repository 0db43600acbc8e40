/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

/*
 * An event loop on epoll(7): descriptors and timers with callbacks, one thread.
 *
 * Code that must wait for one event runs the loop until that event has happened.  Meanwhile the
 * loop serves all others (console output, a dying VMM, other clients):
 *
 *	while (!done) {
 *		int r = loop_run_once(loop, deadline_ns);
 *		if (r < 0)
 *			return r;
 *	}
 *
 * Callbacks therefore only record what happened; they never wait themselves.  A source may be
 * freed at any time, also from its own callback; its callback is not called again.
 */

#include <stdint.h>
#include <sys/epoll.h>

#include "base/own.h"

struct loop;
struct loop_source;

typedef void (*loop_fd_fn)(void *arg, uint32_t events);
typedef void (*loop_timer_fn)(void *arg);

int loop_new(struct loop **ret);
void loop_free(struct loop *l); /* after all its sources */
DEFINE_AUTO(loop, loop_free)

/* Call fn when fd has one of events (EPOLLIN, EPOLLOUT; EPOLLERR and EPOLLHUP always).  The caller
 * keeps the fd, which must outlive the source. */
int loop_add_fd(struct loop *l, int fd, uint32_t events, loop_fd_fn fn, void *arg,
		struct loop_source **ret);

/* Call fn once when the deadline has passed; then the source is idle until armed again. */
int loop_add_timer(struct loop *l, int64_t deadline_ns, loop_timer_fn fn, void *arg,
		   struct loop_source **ret);

/* Change the events of an fd source (0: only errors), or the deadline of a timer. */
int loop_source_set_events(struct loop_source *s, uint32_t events);
void loop_source_arm(struct loop_source *s, int64_t deadline_ns);

void loop_source_free(struct loop_source *s);
DEFINE_AUTO(loop_source, loop_source_free)

/* Wait for the next events and dispatch them.  Returns 0 after callbacks ran, -ETIMEDOUT when
 * the deadline passed first, or -errno.  A call after the deadline dispatches the events that are
 * ready and returns -ETIMEDOUT, so the loop above ends however busy the sources are. */
int loop_run_once(struct loop *l, int64_t deadline_ns);

#endif
