/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/operations: what runs, and what has ended of late. */
#include <inttypes.h>
#include <string.h>

#include "access.h"
#include "base/str.h"
#include "operation.h"
#include "request.h"
#include "server.h"
#include "v1/routes.h"

#define WAIT_MAX_MS (INT64_C(3600) * 1000)

static int list(struct request *rq, struct mvm_error *err)
{
	uint64_t limit = 100, before = UINT64_MAX, more = 0;
	int r = request_query_u64(rq, "limit", 1, 1000, &limit, err);
	if (r == 0)
		r = request_query_u64(rq, "next", 1, UINT64_MAX, &before, err);
	if (r < 0)
		return r;
	json_t *o = operations_json(rq->server->operations, before, limit, &more);
	rq->next = more ? str_printf("%" PRIu64, more) : NULL;
	request_reply(rq, 200, o);
	return 0;
}

static int get(struct request *rq, struct mvm_error *err)
{
	const struct operation *op = operation_find(rq->server->operations, request_arg(rq, 0),
						    err);
	if (!op)
		return err->code;
	request_reply(rq, 200, operation_json(op));
	return 0;
}

static int wait_for(struct request *rq, struct mvm_error *err)
{
	int64_t timeout_ms = WAIT_MAX_MS;
	struct operation *op = operation_find(rq->server->operations, request_arg(rq, 0), err);
	int r = op ? request_query_ms(rq, "timeout", WAIT_MAX_MS, &timeout_ms, err) : err->code;
	return r < 0 ? r : operation_wait(op, rq, timeout_ms, err);
}

static int follow(struct request *rq, struct mvm_error *err)
{
	struct operation *op = operation_find(rq->server->operations, request_arg(rq, 0), err);
	return op ? operation_follow(op, rq, err) : err->code;
}

static int cancel(struct request *rq, struct mvm_error *err)
{
	struct operation *op = operation_find(rq->server->operations, request_arg(rq, 0), err);
	int r = op ? 0 : err->code;
	if (r == 0 && operation_scope(op) == SCOPE_ADMIN)
		r = access_check_admin(rq, "cancelling this operation", err);
	if (r == 0)
		r = operation_cancel(op, err);
	if (r == 0)
		request_reply(rq, 200, operation_json(op));
	return r;
}

const struct route v1_operations_routes[] = {
	{ .method = "GET", .pattern = "/v1/operations", .scope = SCOPE_READ, .handle = list },
	{ .method = "GET", .pattern = "/v1/operations/{id}", .scope = SCOPE_READ, .handle = get },
	{ .method = "DELETE",
	  .pattern = "/v1/operations/{id}",
	  .scope = SCOPE_EXEC,
	  .handle = cancel },
	{ .method = "GET",
	  .pattern = "/v1/operations/{id}/wait",
	  .scope = SCOPE_READ,
	  .handle = wait_for },
	{ .method = "GET",
	  .pattern = "/v1/operations/{id}/events",
	  .scope = SCOPE_READ,
	  .handle = follow },
	{ 0 },
};
