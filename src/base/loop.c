/* SPDX-License-Identifier: Apache-2.0 */
#include "base/loop.h"

#include <errno.h>
#include <stdbool.h>
#include <unistd.h>

#include "base/clock.h"

struct loop_source {
	struct loop *loop;
	struct loop_source *next, **link; /* the list that it is in */
	int fd;				  /* -1: a timer */
	uint32_t events;
	int64_t deadline_ns; /* timers; DEADLINE_NONE: idle */
	loop_fd_fn on_fd;
	loop_timer_fn on_timer;
	void *arg;
	bool dead; /* freed while events were being dispatched */
};

struct loop {
	int epoll_fd;
	/* two lists: there may be a thousand descriptors, and each turn looks at every timer */
	struct loop_source *fds, *timers;
	struct loop_source *dead; /* descriptors' */
	unsigned dispatching;	  /* how deep: a callback may run the loop again */
};

int loop_new(struct loop **ret)
{
	struct loop *l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll_fd < 0) {
		int r = -errno;
		free(l);
		return r;
	}
	*ret = l;
	return 0;
}

static void link_source(struct loop_source *s, struct loop_source **list)
{
	s->next = *list;
	s->link = list;
	if (s->next)
		s->next->link = &s->next;
	*list = s;
}

static void unlink_source(struct loop_source *s)
{
	*s->link = s->next;
	if (s->next)
		s->next->link = s->link;
}

static void drop_source(struct loop_source *s)
{
	unlink_source(s);
	free(s);
}

static void drop_all(struct loop_source **list)
{
	while (*list)
		drop_source(*list);
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	drop_all(&l->fds);
	drop_all(&l->timers);
	close(l->epoll_fd);
	free(l);
}

static struct loop_source *new_source(struct loop *l, struct loop_source **list, void *arg)
{
	struct loop_source *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->loop = l;
	s->fd = -1;
	s->deadline_ns = DEADLINE_NONE;
	s->arg = arg;
	link_source(s, list);
	return s;
}

int loop_add_fd(struct loop *l, int fd, uint32_t events, loop_fd_fn fn, void *arg,
		struct loop_source **ret)
{
	struct loop_source *s = new_source(l, &l->fds, arg);
	if (!s)
		return -ENOMEM;
	struct epoll_event ev = { .events = events, .data.ptr = s };
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
		int r = -errno;
		drop_source(s);
		return r;
	}
	s->fd = fd;
	s->events = events;
	s->on_fd = fn;
	*ret = s;
	return 0;
}

int loop_add_timer(struct loop *l, int64_t deadline_ns, loop_timer_fn fn, void *arg,
		   struct loop_source **ret)
{
	struct loop_source *s = new_source(l, &l->timers, arg);
	if (!s)
		return -ENOMEM;
	s->deadline_ns = deadline_ns;
	s->on_timer = fn;
	*ret = s;
	return 0;
}

int loop_source_set_events(struct loop_source *s, uint32_t events)
{
	if (s->events == events)
		return 0;
	struct epoll_event ev = { .events = events, .data.ptr = s };
	if (epoll_ctl(s->loop->epoll_fd, EPOLL_CTL_MOD, s->fd, &ev) < 0)
		return -errno;
	s->events = events;
	return 0;
}

void loop_source_arm(struct loop_source *s, int64_t deadline_ns)
{
	s->deadline_ns = deadline_ns;
}

void loop_source_free(struct loop_source *s)
{
	if (!s || s->dead)
		return;
	if (s->fd >= 0)
		epoll_ctl(s->loop->epoll_fd, EPOLL_CTL_DEL, s->fd, NULL); /* may be closed */
	if (!s->loop->dispatching) {
		drop_source(s);
		return;
	}
	s->dead = true; /* events in hand may still point here, and so may fire_timers() */
	if (s->fd >= 0) {
		unlink_source(s);
		link_source(s, &s->loop->dead);
	}
}

static int64_t next_deadline(const struct loop *l, int64_t deadline_ns)
{
	for (const struct loop_source *s = l->timers; s; s = s->next) {
		if (!s->dead && s->deadline_ns < deadline_ns)
			deadline_ns = s->deadline_ns;
	}
	return deadline_ns;
}

static bool fire_timers(struct loop *l)
{
	int64_t now = clock_now_ns();
	bool fired = false;
	for (struct loop_source *s = l->timers; s; s = s->next) {
		if (s->dead || s->deadline_ns > now)
			continue;
		s->deadline_ns = DEADLINE_NONE;
		s->on_timer(s->arg);
		fired = true;
	}
	return fired;
}

static void sweep(struct loop *l)
{
	drop_all(&l->dead);
	for (struct loop_source *s = l->timers, *next; s; s = next) {
		next = s->next;
		if (s->dead)
			drop_source(s);
	}
}

int loop_run_once(struct loop *l, int64_t deadline_ns)
{
	for (;;) {
		struct epoll_event events[32];
		bool late = clock_now_ns() >= deadline_ns;
		int timeout = clock_remaining_ms(next_deadline(l, deadline_ns));
		int n = epoll_wait(l->epoll_fd, events, 32, timeout);
		if (n < 0 && errno != EINTR)
			return -errno;

		l->dispatching++;
		for (int i = 0; i < n; i++) {
			struct loop_source *s = events[i].data.ptr;
			if (!s->dead)
				s->on_fd(s->arg, events[i].events);
		}
		bool fired = fire_timers(l);
		if (--l->dispatching == 0)
			sweep(l);

		if (late) /* also after events: sources that are always busy must not hide it */
			return -ETIMEDOUT;
		if (n > 0 || fired)
			return 0;
	}
}
