/* SPDX-License-Identifier: Apache-2.0 */
#include "guard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "code.h"
#include "operation.h"
#include "request.h"
#include "server.h"

int guard_new(struct mvm *mvm, const char *data_dir, struct guard **ret, struct mvm_error *err)
{
	struct guard *g = calloc(1, sizeof(*g));
	if (!g)
		return mvm_error_oom(err);
	g->audit = g->unknown = (struct audit)AUDIT_NONE;
	g->group = (gid_t)-1;
	g->metrics.started_at = clock_wall_ns() / NS_PER_S;
	int r = mvm_tokens_open(mvm, &g->tokens, err);
	if (r == 0)
		r = limits_new(&g->limits, err);
	if (r == 0)
		r = audit_open(data_dir, AUDIT_NAME, &g->audit, err);
	if (r == 0)
		r = audit_open(data_dir, AUDIT_UNKNOWN_NAME, &g->unknown, err);
	if (r < 0)
		guard_free(g);
	else
		*ret = g;
	return r;
}

void guard_free(struct guard *g)
{
	if (!g)
		return;
	audit_close(&g->audit);
	audit_close(&g->unknown);
	limits_free(g->limits);
	mvm_tokens_close(g->tokens);
	strv_done(&g->hosts);
	free(g);
}

static const char *client_text(const struct request *rq, char *ret, size_t size)
{
	if (rq->client.token[0])
		snprintf(ret, size, "token:%s", rq->client.token);
	else if (rq->peer_uid != (uid_t)-1)
		snprintf(ret, size, "uid:%u", (unsigned)rq->peer_uid);
	else
		return NULL;
	return ret;
}

/* The instance that a request is about: of its path, or the new one of its answer.  While its work
 * goes on (202), the answer belongs to the worker. */
static const char *instance_of(const struct request *rq, unsigned status)
{
	static const char about[] = "/v1/instances/{name}";
	const char *pattern = rq->route ? rq->route->pattern : "";
	if (strncmp(pattern, about, strlen(about)) == 0)
		return rq->match.args[0];
	if (status == 202 || strncmp(pattern, "/v1/instances", strlen("/v1/instances")) != 0)
		return NULL;
	return json_string_value(json_object_get(rq->answer, "name"));
}

static bool is_refused(unsigned status)
{
	return status == 401 || status == 403 || status == 429;
}

static void count_refusal(struct metrics *m, const struct request *rq)
{
	if (rq->response_status == 401)
		m->refused_token++;
	else if (rq->response_status == 403)
		m->refused_scope++;
	else if (rq->called)
		m->refused_limit++;
	else
		m->refused_rate++;
}

static void write_line(struct request *rq, unsigned status, const char *code, int64_t took_ns)
{
	char client[CLIENT_NAME_SIZE + 16];
	AUTO_FREE char *operation = rq->operation ? operation_address(rq->operation) : NULL;
	const struct audit_line line = {
		.client = client_text(rq, client, sizeof(client)),
		.from = rq->from[0] ? rq->from : NULL,
		.method = rq->method,
		.path = rq->target,
		.instance = instance_of(rq, status),
		.operation = operation,
		.status = status,
		.code = code,
		.ms = took_ns / NS_PER_MS,
	};
	struct guard *g = rq->server->guard;
	audit_write(rq->known ? &g->audit : &g->unknown, &line);
}

void guard_answered(struct request *rq)
{
	struct guard *g = rq->server->guard;
	const int64_t took_ns = clock_now_ns() - rq->begun_ns;

	metrics_request(&g->metrics, rq->response_status, (double)took_ns / (double)NS_PER_S);
	const bool refused = is_refused(rq->response_status);
	if (refused)
		count_refusal(&g->metrics, rq);
	if (refused || (!str_eq(rq->method, "GET") && !str_eq(rq->method, "HEAD")))
		write_line(rq, rq->response_status, rq->fail_code, took_ns);
}

void guard_ended(struct request *rq, unsigned status)
{
	write_line(rq, status, rq->err.code < 0 ? code_word(&rq->err) : NULL,
		   clock_now_ns() - rq->begun_ns);
}
