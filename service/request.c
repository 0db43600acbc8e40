/* SPDX-License-Identifier: Apache-2.0 */
#include "request.h"

#include <errno.h>
#include <microhttpd.h>
#include <mvm/template.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "access.h"
#include "base/clock.h"
#include "base/error.h"
#include "connection.h"
#include "doubts.h"
#include "e2b/e2b.h"
#include "operation.h"
#include "proxy.h"
#include "reply.h"
#include "server.h"
#include "v1/routes.h"

/* A body that nobody reads is read to its end all the same, so that the connection stays usable.  A
 * longer one ends it. */
#define DISCARD_MAX ((size_t)64 * 1024)

/* Enough for a change that a client only sends, without a look at the reply. */
#define GONE_WAIT_MS 2000

/* When the work of a client that has gone waits no longer. */
static int64_t gone_deadline_ns(const struct request *rq)
{
	bool looks = rq->method &&
		     (strcmp(rq->method, "GET") == 0 || strcmp(rq->method, "HEAD") == 0);
	return clock_deadline_ns(looks ? 0 : GONE_WAIT_MS);
}

/* ---- life ---- */

/* On its worker. */
static int on_progress(void *arg, const struct mvm_progress_event *event)
{
	const struct request *rq = arg;
	return event->kind == MVM_PROGRESS_WAIT &&
	       clock_now_ns() >= atomic_load(&rq->wait_until_ns);
}

void request_give_up(struct request *rq, int64_t deadline_ns)
{
	if (deadline_ns < atomic_load(&rq->wait_until_ns))
		atomic_store(&rq->wait_until_ns, deadline_ns);
}

struct request *request_new(struct server *server, const struct listener *listener,
			    const char *target)
{
	struct request *rq = calloc(1, sizeof(*rq));
	if (!rq)
		return NULL;
	rq->target = strdup(target);
	if (!rq->target) {
		free(rq);
		return NULL;
	}
	rq->server = server;
	rq->listener = listener;
	rq->waits =
		(struct mvm_progress){ .size = sizeof(rq->waits), .fn = on_progress, .arg = rq };
	rq->progress = &rq->waits;
	atomic_init(&rq->wait_until_ns, DEADLINE_NONE);
	rq->peer_uid = (uid_t)-1;
	rq->begun_ns = clock_now_ns();
	rq->refs = 1;
	rq->next_request = server->requests;
	if (rq->next_request)
		rq->next_request->link = &rq->next_request;
	rq->link = &server->requests;
	server->requests = rq;
	return rq;
}

struct request *request_ref(struct request *rq)
{
	rq->refs++;
	return rq;
}

static void free_request(struct request *rq)
{
	if (rq->own_free)
		rq->own_free(rq->own);
	if (rq->response)
		MHD_destroy_response(rq->response);
	for (size_t i = 0; i < rq->n_params; i++)
		free(rq->params[i].name);
	route_match_done(&rq->match);
	json_decref(rq->json);
	json_decref(rq->answer);
	strbuf_done(&rq->text);
	strv_done(&rq->headers);
	free(rq->next);
	free(rq->method);
	free(rq->target);
	free(rq->query);
	free(rq);
}

void request_unref(struct request *rq)
{
	if (rq && --rq->refs == 0)
		free_request(rq);
}

bool request_gone(const struct request *rq)
{
	return rq->dropped || !rq->connection;
}

/* ---- what waits for a guest, of a client that has gone ---- */

void request_on_gone(struct request *rq, void (*fn)(void *arg), void *arg)
{
	rq->gone = fn;
	rq->gone_arg = arg;
}

void request_forget_gone(struct request *rq)
{
	rq->gone = NULL;
	if (!rq->gone_timer)
		return;
	loop_source_free(rq->gone_timer);
	rq->gone_timer = NULL;
	request_unref(rq);
}

static void on_gone_time(void *arg)
{
	struct request *rq = arg;
	rq->gone(rq->gone_arg);
}

static void begin_gone(struct request *rq)
{
	if (!rq->gone)
		return;
	const int64_t deadline_ns = gone_deadline_ns(rq);
	if (deadline_ns <= clock_now_ns() ||
	    loop_add_timer(rq->server->loop, deadline_ns, on_gone_time, rq, &rq->gone_timer) < 0)
		rq->gone(rq->gone_arg);
	else
		request_ref(rq);
}

void request_completed(struct request *rq)
{
	loop_source_free(rq->watch);
	rq->watch = NULL;
	request_give_up(rq, gone_deadline_ns(rq));
	if (rq->connection)
		connection_set_limit(rq->server, rq->connection, CONNECTION_NEXT);
	rq->connection = NULL;
	*rq->link = rq->next_request;
	if (rq->next_request)
		rq->next_request->link = rq->link;
	begin_gone(rq);
	request_unref(rq);
}

/* ---- suspending ---- */

static void on_hangup(void *arg, uint32_t events)
{
	struct request *rq = arg;
	(void)events;
	rq->dropped = true;
	request_give_up(rq, gone_deadline_ns(rq));
	request_resume(rq);
}

void request_suspend(struct request *rq)
{
	if (rq->suspended)
		return;
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
		rq->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	rq->suspended = true;
	MHD_suspend_connection(rq->connection);
	/* libmicrohttpd does not look at a suspended connection; without a watch (no memory) the
	 * hang-up is only noticed at the next write */
	if (info)
		loop_add_fd(rq->server->loop, info->connect_fd, EPOLLRDHUP, on_hangup, rq,
			    &rq->watch);
}

void request_resume(struct request *rq)
{
	if (!rq->suspended || !rq->connection)
		return;
	loop_source_free(rq->watch);
	rq->watch = NULL;
	rq->suspended = false;
	rq->server->again = true;
	MHD_resume_connection(rq->connection);
}

void request_more(struct request *rq)
{
	request_resume(rq);
}

void request_go_on(struct request *rq)
{
	rq->held = false;
	request_resume(rq);
}

/* ---- reading ---- */

const char *request_header(const struct request *rq, const char *name)
{
	return rq->connection ? MHD_lookup_connection_value(rq->connection, MHD_HEADER_KIND, name)
			      : NULL;
}

/* Split the query off the target. */
static int cut_query(struct request *rq, struct mvm_error *err)
{
	char *query = strchr(rq->target, '?');
	if (!query)
		return 0;
	*query++ = '\0';
	rq->query = strdup(query);
	return rq->query ? 0 : mvm_error_oom(err);
}

/* Decode the query's parameters. */
static int read_query(struct request *rq, struct mvm_error *err)
{
	AUTO_FREE char *copy = rq->query ? strdup(rq->query) : NULL;
	if (rq->query && !copy)
		return mvm_error_oom(err);
	if (!copy || rq->route->raw_query)
		return 0;
	return query_parse(copy, rq->params, REQUEST_PARAMS_MAX, &rq->n_params, err);
}

static int find_route(struct request *rq, struct mvm_error *err)
{
	AUTO_DONE(strbuf) allowed = { 0 };
	char name[PROXY_NAME_SIZE];
	uint16_t port;
	if (e2b_port_of(rq, name, &port))
		rq->route = &e2b_port;
	else if (proxy_host(request_header(rq, "Host"), name, &port) && port != E2B_PORT)
		rq->route = &v1_port_by_host;
	if (rq->route)
		return 0;
	rq->route = route_find(rq->method, rq->target, &rq->match, &allowed);
	if (rq->route)
		return 0;
	if (allowed.len == 0) {
		mvm_error_set(err, -ENOENT, "nothing has this path");
		return mvm_error_hint(err, -ENOENT, "GET /v1/openapi.yaml lists all");
	}
	request_add_header(rq, "Allow", allowed.data);
	return mvm_error_set(err, -ENOSYS, "this path takes %s", allowed.data);
}

static void begin(struct request *rq, const char *method, const char *version)
{
	struct mvm_error err = { 0 };
	int r = 0;

	rq->begun = true;
	connection_set_limit(rq->server, rq->connection, CONNECTION_BODY);
	rq->method = strdup(method);
	if (!rq->method)
		r = mvm_error_oom(&err);
	if (r == 0)
		r = doubts_check(rq->connection, method, version, rq->target, &err);
	if (r == -EINVAL)
		request_add_header(rq, "Connection", "close");
	if (r == 0)
		r = cut_query(rq, &err);
	if (r == 0 && rq->server->stop)
		r = mvm_error_set(&err, -EAGAIN, "mvmd is being stopped");
	if (r == 0)
		r = find_route(rq, &err);
	if (r == 0)
		r = read_query(rq, &err);
	if (r == 0)
		r = access_check(rq, &err);
	if (r == 0) {
		const char *prefer = request_header(rq, "Prefer");
		rq->async = prefer && strcasestr(prefer, "respond-async");
		r = request_query_bool(rq, "async", &rq->async, &err);
	}
	if (r == 0 && rq->route->prepare) {
		rq->held = true; /* request_go_on() may come at once */
		r = rq->route->prepare(rq, &err);
	}
	rq->held = rq->held && r > 0 && !rq->response;
	if (rq->held)
		connection_set_limit(rq->server, rq->connection, CONNECTION_NO_LIMIT);
	if (r < 0)
		request_fail(rq, &err);
}

/* Nothing holds it any more: its body may come. */
static void open_body(struct request *rq)
{
	struct mvm_error err = { 0 };
	int r = 0;

	rq->opened = true;
	if (!rq->response && rq->route->begin)
		r = rq->route->begin(rq, &err);
	if (r < 0)
		request_fail(rq, &err);
	/* the body of one that has failed is only dropped */
	connection_set_limit(rq->server, rq->connection,
			     !rq->response && rq->route->upload ? CONNECTION_NO_LIMIT
								: CONNECTION_BODY);
}

/* ---- the body ---- */

static size_t body_max(const struct request *rq)
{
	if (!rq->route || rq->response || !rq->route->body)
		return DISCARD_MAX;
	return rq->route->body_max ? rq->route->body_max : REQUEST_BODY_MAX;
}

/* Is the body, which has not come yet, too long to be read? */
static bool body_too_long(const struct request *rq)
{
	const char *length = request_header(rq, "Content-Length");
	if (rq->route && rq->route->upload && !rq->response)
		return false;
	if (rq->response && request_header(rq, "Transfer-Encoding"))
		return true;
	return length && strtoull(length, NULL, 10) > body_max(rq);
}

static void fail_too_long(struct request *rq)
{
	struct mvm_error err = { 0 };
	mvm_error_set(&err, -EFBIG, "the body is longer than %zu bytes", body_max(rq));
	request_fail(rq, &err);
}

/* Drop a piece of an upload that has failed: libmicrohttpd sends no reply before a body's end, and
 * the client should learn why it failed.  The rest has as much time as any other body. */
static void drop_upload(struct request *rq, size_t *len)
{
	if (rq->discarded == 0)
		connection_set_limit(rq->server, rq->connection, CONNECTION_BODY);
	rq->discarded += *len;
	*len = 0;
}

/* Take a piece of a body.  False: close the connection. */
static bool take_body(struct request *rq, const char *data, size_t *len)
{
	struct mvm_error err = { 0 };

	if (!rq->response && rq->route->upload) {
		size_t n = *len;
		int r = rq->route->upload(rq, data, &n, &err);
		if (r < 0)
			request_fail(rq, &err);
		else if (n < *len)
			request_suspend(rq);
		*len = r < 0 ? 0 : *len - n;
		return true;
	}
	if (rq->route && rq->route->upload) {
		drop_upload(rq, len);
		return true;
	}
	rq->discarded += *len;
	bool fits = rq->discarded <= body_max(rq);
	if (!fits && !rq->response)
		fail_too_long(rq);
	if (!rq->response && rq->route->body)
		strbuf_add(&rq->text, data, *len);
	*len = 0;
	return fits || rq->discarded <= REQUEST_BODY_MAX + DISCARD_MAX;
}

static int read_json(struct request *rq, struct mvm_error *err)
{
	const char *type = request_header(rq, "Content-Type");

	if (rq->text.failed)
		return mvm_error_oom(err);
	if (rq->text.len == 0 && rq->route->needs_body)
		return mvm_error_set(err, -EINVAL, "the request needs a body, which is missing");
	if (rq->text.len == 0) {
		rq->json = json_object();
		json_root(&rq->body, "body", rq->json);
		return rq->json ? 0 : mvm_error_oom(err);
	}
	/* a page of another site can send text/plain without asking, but not this type */
	if (!type || strncasecmp(type, "application/json", 16) != 0)
		return mvm_error_set(err, -EMEDIUMTYPE, "the body must be application/json");
	int r = json_read_object(rq->text.data, rq->text.len, "body", &rq->json, &rq->body, err);
	strbuf_done(&rq->text);
	rq->text = (struct strbuf){ 0 };
	return request_bad_body(r, err);
}

/* ---- calling the handler ---- */

static void run_work(struct work *work, struct mvm *mvm)
{
	struct request *rq = (void *)((char *)work - offsetof(struct request, work));
	if (!rq->lasts && clock_now_ns() >= atomic_load(&rq->wait_until_ns)) /* for this thread */
		mvm_error_set(&rq->err, -ECANCELED, "the client has gone");
	else if (rq->work_fn(rq, mvm, &rq->err) >= 0)
		rq->err.code = 0;
	else if (rq->err.code == 0)
		rq->err.code = -EIO;
}

static void work_done(struct work *work)
{
	struct request *rq = (void *)((char *)work - offsetof(struct request, work));
	if (!rq->status && rq->err.code == 0) /* mvmd ends, and its work never ran */
		mvm_error_set(&rq->err, -EAGAIN, "mvmd is being stopped");
	reply_answer(rq);
	if (rq->worked)
		rq->worked(rq);
	request_unref(rq);
}

int request_work(struct request *rq, enum work_class class, work_fn fn, struct mvm_error *err)
{
	rq->work_fn = fn;
	rq->work = (struct work){ .run = run_work, .done = work_done, .owner = rq->owner };
	int r = workers_add(rq->server->workers[class], &rq->work, err);
	if (r == 0)
		request_ref(rq);
	return r;
}

/* An operation's work would refuse a wrong name, but a client that does not wait has its 202 by
 * then. Instances and templates have the same rule. */
static int check_name(const struct request *rq, struct mvm_error *err)
{
	const char *name = rq->match.args[0];
	if (!rq->route->operation || !name || mvm_template_id_valid(name))
		return 0;
	return mvm_error_set(err, -EINVAL,
			     "'%.80s' is no valid name: use 1 to 63 of a-z 0-9 - _, starting with "
			     "a letter or digit",
			     name);
}

static void call(struct request *rq)
{
	struct mvm_error err = { 0 };
	const struct route *route = rq->route;
	int r = 0;

	rq->called = true;
	connection_set_limit(rq->server, rq->connection, CONNECTION_NO_LIMIT);
	if (route->body)
		r = read_json(rq, &err);
	if (r >= 0)
		r = check_name(rq, &err);
	if (r >= 0 && route->checks)
		r = route->work(rq, NULL, &err);
	if (r >= 0 && route->operation)
		r = operation_start(rq, &err);
	else if (r >= 0 && route->work)
		r = request_work(rq, route->class, route->work, &err);
	else if (r >= 0)
		r = route->handle(rq, &err);
	if (r < 0)
		request_fail(rq, &err);
}

bool request_step(struct request *rq, struct MHD_Connection *connection, const char *method,
		  const char *version, const char *upload, size_t *upload_len)
{
	if (!rq->begun) {
		rq->connection = connection;
		begin(rq, method, version);
		if (rq->held) {
			request_suspend(rq);
			return true; /* libmicrohttpd calls again for the head */
		}
	}
	if (rq->dropped)
		return false;
	if (!rq->opened) {
		open_body(rq);
		if (!rq->response && body_too_long(rq))
			fail_too_long(rq);
		/* else the reply follows the body, and the connection stays usable */
		return !rq->response || !body_too_long(rq) || reply_queue(rq);
	}
	if (*upload_len > 0)
		return take_body(rq, upload, upload_len);
	if (!rq->response && !rq->called)
		call(rq);
	if (rq->response)
		return reply_queue(rq);
	request_suspend(rq);
	return true;
}
