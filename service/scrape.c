/* SPDX-License-Identifier: Apache-2.0 */
/* GET /metrics, and GET /healthz for load balancers. */
#include <errno.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/str.h"
#include "guard.h"
#include "operation.h"
#include "request.h"
#include "route.h"
#include "server.h"

struct scrape {
	struct work work;
	struct request *rq;
	struct metrics_now now;
	struct strbuf text;
	struct mvm_error err;
	bool ran;
};

static void run(struct work *work, struct mvm *mvm)
{
	struct scrape *s = (struct scrape *)work; /* its first member */
	s->ran = true;
	if (metrics_text(&s->now, mvm, s->rq->server->data_dir, &s->text, &s->err) == 0)
		s->err.code = 0;
}

static void done(struct work *work)
{
	struct scrape *s = (struct scrape *)work;
	if (!s->ran)
		mvm_error_set(&s->err, -EAGAIN, "mvmd is being stopped");
	if (s->err.code < 0)
		request_fail(s->rq, &s->err);
	else
		request_reply_text(s->rq, 200, "text/plain; version=0.0.4; charset=utf-8",
				   s->text.data, s->text.len);
	request_unref(s->rq);
	strbuf_done(&s->text);
	free(s);
}

static void fill(struct metrics_now *ret, const struct server *s)
{
	ret->metrics = s->guard->metrics;
	ret->connections = s->n_connections;
	for (const struct request *rq = s->requests; rq; rq = rq->next_request)
		ret->requests++;
	ret->operations_running = operations_running(s->operations);
	for (int i = 0; i < WORK_CLASSES; i++)
		workers_load(s->workers[i], &ret->waiting[i], &ret->running[i]);
}

static int get_metrics(struct request *rq, struct mvm_error *err)
{
	struct scrape *s = calloc(1, sizeof(*s));
	if (!s)
		return mvm_error_oom(err);
	s->work = (struct work){ .run = run, .done = done, .owner = rq->owner };
	s->rq = rq; /* before a worker may have the job */
	fill(&s->now, rq->server);
	int r = workers_add(rq->server->workers[WORK_READ], &s->work, err);
	if (r < 0) {
		free(s);
		return r;
	}
	request_ref(rq); /* in time: done() runs on this thread */
	return 0;
}

static int get_health(struct request *rq, struct mvm_error *err)
{
	(void)err;
	request_reply_text(rq, 200, "text/plain", "ok\n", 3);
	return 0;
}

const struct route scrape_routes[] = {
	{ .method = "GET", .pattern = "/metrics", .scope = SCOPE_READ, .handle = get_metrics },
	{ .method = "GET", .pattern = "/healthz", .scope = SCOPE_NONE, .handle = get_health },
	{ 0 },
};
