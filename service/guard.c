/* SPDX-License-Identifier: Apache-2.0 */
#include "guard.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "operation.h"
#include "request.h"
#include "server.h"

int guard_new(const char *data_dir, struct guard **ret, struct mvm_error *err)
{
	struct guard *g = calloc(1, sizeof(*g));
	if (!g)
		return mvm_error_oom(err);
	g->audit = (struct audit)AUDIT_NONE;
	g->metrics.started_at = clock_wall_ns() / NS_PER_S;
	int r = mvm_open(data_dir, &g->mvm, err);
	if (r == 0)
		r = mvm_tokens_open(g->mvm, &g->tokens, err);
	if (r == 0)
		r = limits_new(&g->limits, err);
	if (r == 0)
		r = audit_open(data_dir, &g->audit, err);
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
	limits_free(g->limits);
	mvm_tokens_close(g->tokens);
	mvm_close(g->mvm);
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

static const char *address_text(const struct request *rq, char *ret, socklen_t size)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
		rq->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	const struct sockaddr *a = info ? info->client_addr : NULL;

	struct sockaddr_in v4;
	struct sockaddr_in6 v6;

	if (a && a->sa_family == AF_INET) {
		memcpy(&v4, a, sizeof(v4));
		return inet_ntop(AF_INET, &v4.sin_addr, ret, size);
	}
	if (a && a->sa_family == AF_INET6) {
		memcpy(&v6, a, sizeof(v6));
		return inet_ntop(AF_INET6, &v6.sin6_addr, ret, size);
	}
	return NULL;
}

/* The instance that a request is about: of its path, or the new one of its answer. */
static const char *instance_of(const struct request *rq)
{
	static const char about[] = "/v1/instances/{name}";
	const char *pattern = rq->route ? rq->route->pattern : "";
	if (strncmp(pattern, about, strlen(about)) == 0)
		return rq->match.args[0];
	if (strncmp(pattern, "/v1/instances", strlen("/v1/instances")) != 0)
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

void guard_answered(struct request *rq)
{
	struct guard *g = rq->server->guard;
	const int64_t took_ns = clock_now_ns() - rq->begun_ns;
	char client[CLIENT_NAME_SIZE + 16], from[INET6_ADDRSTRLEN];

	metrics_request(&g->metrics, rq->response_status, (double)took_ns / (double)NS_PER_S);
	const bool refused = is_refused(rq->response_status);
	if (refused)
		count_refusal(&g->metrics, rq);
	const char *method = rq->method ? rq->method : "";
	if (!refused && (str_eq(method, "GET") || str_eq(method, "HEAD")))
		return;
	AUTO_FREE char *operation = rq->operation ? operation_address(rq->operation) : NULL;
	const struct audit_line line = {
		.client = client_text(rq, client, sizeof(client)),
		.from = address_text(rq, from, sizeof(from)),
		.method = method,
		.path = rq->target,
		.instance = instance_of(rq),
		.operation = operation,
		.status = rq->response_status,
		.code = rq->fail_code,
		.ms = took_ns / NS_PER_MS,
	};
	audit_write(&g->audit, &line);
}
