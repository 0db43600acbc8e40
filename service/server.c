/* SPDX-License-Identifier: Apache-2.0 */
#include "server.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "connection.h"
#include "console/session.h"
#include "e2b/e2b.h"
#include "guard.h"
#include "listener.h"
#include "operation.h"
#include "request.h"
#include "starts.h"
#include "v1/wait.h"

/* Threads and queue of each kind of work.  A client alone has half of each (worker.h). */
static const struct {
	unsigned threads, queue;
} pools[WORK_CLASSES] = {
	[WORK_READ] = { 8, 512 },
	[WORK_GUEST] = { 8, 128 },
	[WORK_START] = { 16, 512 },
	[WORK_BUILD] = { 6, 128 },
};

/* ---- life ---- */

int server_new(const char *data_dir, struct server **ret, struct mvm_error *err)
{
	AUTO(server) s = calloc(1, sizeof(*s));
	if (!s)
		return mvm_error_oom(err);
	s->data_dir = data_dir;
	s->client_ns = 30 * NS_PER_S;
	int r = loop_new(&s->loop);
	if (r < 0)
		return mvm_error_set(err, r, "epoll: %s", strerror(-r));
	r = connections_begin(s);
	if (r < 0)
		return mvm_error_set(err, r, "epoll: %s", strerror(-r));
	r = mvm_open(data_dir, &s->mvm, err);
	if (r == 0)
		r = guard_new(s->mvm, data_dir, &s->guard, err);
	if (r == 0)
		r = operations_new(s, &s->operations, err);
	s->sessions = console_sessions_new();
	if (r == 0 && !s->sessions)
		r = mvm_error_oom(err);
	for (int i = 0; r == 0 && i < WORK_CLASSES; i++)
		r = workers_new(s->loop, data_dir, pools[i].threads, pools[i].queue, &s->workers[i],
				err);
	if (r == 0)
		starts_begin(s);
	if (r == 0)
		*ret = TAKE_PTR(s);
	return r;
}

void server_free(struct server *s)
{
	if (!s)
		return;
	s->stop = 2; /* what waits for its turn does not begin */
	if (s->operations)
		operations_cancel_all(s->operations);
	for (struct request *rq = s->requests; rq; rq = rq->next_request)
		request_give_up(rq, 0);
	e2b_give_up(s);
	starts_end(s);
	for (int i = 0; i < WORK_CLASSES; i++)
		workers_free(s->workers[i]);
	waits_free(s->waits);
	for (struct request *rq = s->requests; rq; rq = rq->next_request) {
		rq->dropped = true; /* libmicrohttpd cannot stop with suspended connections */
		request_resume(rq);
	}
	while (s->listeners) {
		struct listener *l = s->listeners;
		s->listeners = l->next;
		listener_free(l);
	}
	operations_free(s->operations);
	e2b_stop(s);
	console_sessions_free(s->sessions);
	guard_free(s->guard);
	loop_source_free(s->look);
	mvm_close(s->mvm);
	loop_free(s->loop);
	free(s);
}

/* When libmicrohttpd wants to run again at the latest: for its timeouts. */
static int64_t next_run_ns(const struct server *s)
{
	int64_t deadline_ns = DEADLINE_NONE;
	if (s->again)
		return 0;
	for (const struct listener *l = s->listeners; l; l = l->next) {
		unsigned long long ms;
		if (MHD_get_timeout(l->daemon, &ms) != MHD_YES)
			continue;
		int64_t at = ms > 3600000 ? DEADLINE_NONE : clock_deadline_ns((int64_t)ms);
		deadline_ns = at < deadline_ns ? at : deadline_ns;
	}
	return deadline_ns;
}

static int run_once(struct server *s, int64_t deadline_ns, struct mvm_error *err)
{
	const int64_t next_ns = next_run_ns(s);
	int r = loop_run_once(s->loop, next_ns < deadline_ns ? next_ns : deadline_ns);
	if (r < 0 && r != -ETIMEDOUT)
		return mvm_error_set(err, r, "epoll: %s", strerror(-r));
	s->again = false;
	for (struct listener *l = s->listeners; l; l = l->next)
		MHD_run(l->daemon);
	return 0;
}

/* Let the requests end that are under way. */
static int drain(struct server *s, struct mvm_error *err)
{
	const int64_t deadline_ns = clock_now_ns() + s->grace_ns;
	int r = 0;

	for (struct listener *l = s->listeners; l; l = l->next)
		listener_close(l);
	while (r == 0 && s->stop < 2 && s->requests && clock_now_ns() < deadline_ns)
		r = run_once(s, deadline_ns, err);
	return r;
}

int server_run(struct server *s, struct mvm_error *err)
{
	int r = 0;
	while (r == 0 && !s->stop)
		r = run_once(s, DEADLINE_NONE, err);
	return r < 0 ? r : drain(s, err);
}
