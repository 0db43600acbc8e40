/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports of sandboxes: by host name, as the packages' get_host() makes it, PORT-ID.DOMAIN; and by
 * headers, which the packages send to E2B_SANDBOX_URL.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/parse.h"
#include "e2b/envd.h"
#include "proxy.h"
#include "request.h"
#include "server.h"

#define TRAFFIC_TOKEN "e2b-traffic-access-token"

/* ---- uses ---- */

struct port_use {
	struct sandbox_use use;
	struct proxy *proxy;
};

static void on_closed(void *arg)
{
	struct port_use *u = arg;
	sandbox_unuse(&u->use);
	free(u);
}

static void on_drop(struct sandbox_use *use)
{
	proxy_cut(((struct port_use *)use)->proxy);
}

/* ---- the route ---- */

/* Does the host name say it, and not a header? */
static bool is_by_host(const struct request *rq)
{
	char id[PROXY_NAME_SIZE];
	uint16_t port;
	return proxy_host(request_header(rq, "Host"), id, &port);
}

bool e2b_port_of(const struct request *rq, char *ret_id, uint16_t *ret_port)
{
	const char *id = request_header(rq, "E2b-Sandbox-Id");
	const char *text = request_header(rq, "E2b-Sandbox-Port");
	uint64_t port;

	ret_id[0] = '\0';
	*ret_port = 0;
	if (!rq->server->e2b)
		return false;
	if (proxy_host(request_header(rq, "Host"), ret_id, ret_port))
		return *ret_port != E2B_PORT &&
		       (sandbox_is_id(ret_id) || sandbox_find(rq->server->e2b, ret_id));
	if (!id || !text || parse_u64(text, 1, UINT16_MAX, &port) < 0 || port == E2B_PORT)
		return false;
	snprintf(ret_id, PROXY_NAME_SIZE, "%s", id);
	*ret_port = (uint16_t)port;
	return true;
}

/* The request's sandbox; NULL: it has gone. */
static struct sandbox *of(const struct request *rq, char id[PROXY_NAME_SIZE], uint16_t *ret_port)
{
	return e2b_port_of(rq, id, ret_port) ? sandbox_find(rq->server->e2b, id) : NULL;
}

/* Everybody may send to a port who knows the id, or, if the sandbox was created so, who has the
 * traffic token or a token of mvmd. */
static int check_traffic(const struct request *rq, const struct sandbox *s, struct mvm_error *err)
{
	const char *given = request_header(rq, TRAFFIC_TOKEN);
	const char *token = sandbox_text(s->doc, "trafficToken");

	if (json_object_get(s->doc, "publicTraffic") ||
	    (given && token && envd_same(given, token)) ||
	    (rq->known && rq->client.scope >= MVM_TOKEN_EXEC))
		return 0;
	return mvm_error_set(err, -EACCES, "Sandbox is secured with traffic access token. %s",
			     given ? "Provided token in header '" TRAFFIC_TOKEN "' is invalid"
				   : "Token header '" TRAFFIC_TOKEN "' is missing");
}

static int prepare(struct request *rq, struct mvm_error *err)
{
	char id[PROXY_NAME_SIZE];
	uint16_t port;
	struct sandbox *s = of(rq, id, &port);
	int r = s ? check_traffic(rq, s, err) : 0;
	return r == 0 && s ? sandbox_wake_for(rq->server->e2b, s, rq, err) : r;
}

static int begin(struct request *rq, struct mvm_error *err)
{
	char id[PROXY_NAME_SIZE];
	const bool by_host = is_by_host(rq);
	struct proxy_spec spec = { .instance = id,
				   .path = rq->target,
				   .query = rq->query,
				   .prefix = by_host ? NULL : "",
				   .hides_authorization = rq->known && !rq->listener->path };
	struct sandbox *s = of(rq, id, &spec.port);
	if (rq->target[0] != '/')
		return mvm_error_set(err, -EINVAL, "the request has no path");
	/* an instance whose name is like an id: as any other's port */
	if (!s && by_host && rq->known && rq->client.scope >= MVM_TOKEN_EXEC)
		return proxy_begin(rq, &spec, NULL, err);
	if (!s || !sandbox_runs(s))
		return mvm_error_set(err, -EHOSTDOWN, "the sandbox was not found");
	struct port_use *u = calloc(1, sizeof(*u));
	if (!u)
		return mvm_error_oom(err);
	spec.closed = on_closed;
	spec.arg = u;
	int r = proxy_begin(rq, &spec, &u->proxy, err);
	if (r < 0) {
		free(u);
		return r;
	}
	sandbox_use(s, &u->use, on_drop);
	return 0;
}

/* As E2B's proxy answers. */
static void fail(struct request *rq, unsigned status, const struct mvm_error *err)
{
	char id[PROXY_NAME_SIZE];
	const char *text = err->text;
	uint16_t port;

	of(rq, id, &port);
	if (err->code == -EHOSTDOWN || err->code == -ENOENT) {
		status = 502;
		text = "The sandbox was not found";
	} else if (err->code == -ECONNREFUSED) {
		text = "The sandbox is running but port is not open";
	}
	json_t *o = json_pack("{s:o, s:o, s:i}", "sandboxId", envd_text(id), "message",
			      envd_text(text), "code", (int)status);
	if (err->code == -ECONNREFUSED)
		json_object_set_new(o, "port", json_integer(port));
	request_reply_json(rq, status, o);
}

const struct route e2b_port = {
	.method = "*",
	.pattern = "*",
	.scope = SCOPE_NONE,
	.for_guest = true,
	.raw_query = true,
	.prepare = prepare,
	.begin = begin,
	.upload = proxy_upload,
	.handle = proxy_handle,
	.fail = fail,
};
