/* SPDX-License-Identifier: Apache-2.0 */
#include "reply.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/own.h"
#include "base/parse.h"
#include "code.h"
#include "guard.h"
#include "operation.h"
#include "request.h"
#include "server.h"

bool reply_queue(struct request *rq)
{
	struct MHD_Response *response = TAKE_PTR(rq->response);
	guard_answered(rq);
	if (rq->server->stop)
		request_add_header(rq, "Connection", "close");
	bool ok = !rq->headers.failed;

	for (size_t i = 0; ok && i + 1 < rq->headers.n; i += 2)
		ok = MHD_add_response_header(response, rq->headers.v[i], rq->headers.v[i + 1]) ==
		     MHD_YES;
	ok = ok && MHD_queue_response(rq->connection, rq->response_status, response) == MHD_YES;
	MHD_destroy_response(response);
	return ok;
}

void request_add_header(struct request *rq, const char *name, const char *value)
{
	strv_add(&rq->headers, name);
	strv_add(&rq->headers, value);
}

void request_reply_response(struct request *rq, unsigned status, struct MHD_Response *response)
{
	request_forget_gone(rq);
	if (rq->response || rq->replied) { /* a reply is given once */
		MHD_destroy_response(response);
		return;
	}
	rq->replied = true;
	rq->response = response;
	rq->response_status = status;
	request_resume(rq);
}

void request_reply_text(struct request *rq, unsigned status, const char *type, const void *data,
			size_t len)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(len, (void *)data,
									MHD_RESPMEM_MUST_COPY);
	if (!response) { /* no memory: hang up */
		request_forget_gone(rq);
		rq->dropped = true;
		request_resume(rq);
		return;
	}
	request_add_header(rq, "Content-Type", type);
	request_add_header(rq, "Cache-Control", "no-store");
	request_add_header(rq, "X-Content-Type-Options", "nosniff");
	request_reply_response(rq, status, response);
}

void request_reply_json(struct request *rq, unsigned status, json_t *value)
{
	static const char none[] = "{\"type\":\"error\",\"status\":503,\"error\":"
				   "{\"code\":\"overloaded\",\"message\":\"out of memory\"}}";
	AUTO_FREE char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;

	json_decref(value);
	if (text)
		request_reply_text(rq, status, "application/json", text, strlen(text));
	else
		request_reply_text(rq, 503, "application/json", none, strlen(none));
}

json_t *reply_envelope(const struct request *rq, unsigned status, json_t *metadata)
{
	struct json_out out = { 0 };
	json_t *o = json_new(&out);
	json_put_string(&out, o, "type", "sync");
	json_put_u64(&out, o, "status", status);
	if (rq->operation) {
		AUTO_FREE char *address = operation_address(rq->operation);
		json_put(&out, o, "operation", address ? json_string(address) : NULL);
	}
	json_put(&out, o, "metadata", metadata);
	if (rq->next)
		json_put_text(&out, o, "next", rq->next);
	if (!out.failed)
		return o;
	json_decref(o);
	return NULL;
}

void request_reply(struct request *rq, unsigned status, json_t *metadata)
{
	request_reply_json(rq, status, reply_envelope(rq, status, metadata));
}

void request_fail(struct request *rq, const struct mvm_error *err)
{
	unsigned status = code_status(err);
	rq->fail_code = code_word(err);
	if (status == 503 || status == 429)
		request_add_header(rq, "Retry-After", "1");
	if (status == 401)
		request_add_header(rq, "WWW-Authenticate", "Bearer");
	if (rq->route && rq->route->fail) {
		rq->route->fail(rq, status, err);
		return;
	}
	reply_error(rq, status, code_json(err));
}

void reply_error(struct request *rq, unsigned status, json_t *error)
{
	struct json_out out = { 0 };
	json_t *o = json_new(&out);
	json_put_string(&out, o, "type", "error");
	json_put_u64(&out, o, "status", status);
	if (rq->operation) {
		AUTO_FREE char *address = operation_address(rq->operation);
		json_put(&out, o, "operation", address ? json_string(address) : NULL);
	}
	json_put(&out, o, "error", error);
	if (out.failed) {
		json_decref(o);
		o = NULL;
	}
	request_reply_json(rq, status, o);
}

int request_answer(struct request *rq, unsigned status, json_t *metadata, struct mvm_error *err)
{
	if (!metadata)
		return mvm_error_oom(err);
	rq->status = status;
	rq->answer = metadata;
	return 0;
}

static void reply_bare(struct request *rq)
{
	if (rq->next)
		request_add_header(rq, "X-Next-Token", rq->next);
	if (rq->status == 204)
		request_reply_text(rq, 204, "application/json", "", 0);
	else
		request_reply_json(rq, rq->status, json_incref(rq->answer));
}

void reply_answer(struct request *rq)
{
	if (rq->err.code < 0)
		request_fail(rq, &rq->err);
	else if (rq->route->bare)
		reply_bare(rq);
	else
		request_reply(rq, rq->status, json_incref(rq->answer));
}

/* ---- parameters ---- */

const char *request_query(const struct request *rq, const char *name)
{
	for (size_t i = 0; i < rq->n_params; i++) {
		if (strcmp(rq->params[i].name, name) == 0)
			return rq->params[i].value;
	}
	return NULL;
}

int request_query_u64(const struct request *rq, const char *name, uint64_t min, uint64_t max,
		      uint64_t *ret, struct mvm_error *err)
{
	const char *value = request_query(rq, name);
	if (!value || parse_u64(value, min, max, ret) == 0)
		return 0;
	return mvm_error_set(err, -EINVAL,
			     "query parameter '%s' must be a whole number from %ju to %ju", name,
			     (uintmax_t)min, (uintmax_t)max);
}

int request_query_bool(const struct request *rq, const char *name, bool *ret, struct mvm_error *err)
{
	const char *value = request_query(rq, name);
	if (!value)
		return 0;
	bool yes = !*value || strcmp(value, "true") == 0 || strcmp(value, "1") == 0;
	if (!yes && strcmp(value, "false") != 0 && strcmp(value, "0") != 0)
		return mvm_error_set(err, -EINVAL, "query parameter '%s' must be true or false",
				     name);
	*ret = yes;
	return 0;
}

int request_query_ms(const struct request *rq, const char *name, int64_t max_ms, int64_t *ret,
		     struct mvm_error *err)
{
	const char *value = request_query(rq, name);
	if (!value || parse_duration_ms(value, max_ms, ret) == 0)
		return 0;
	return mvm_error_set(
		err, -EINVAL,
		"query parameter '%s' must be a time up to %ji seconds, as in 90 or 5m", name,
		(intmax_t)(max_ms / 1000));
}

int request_bad_body(int r, struct mvm_error *err)
{
	if (r != -EBADMSG)
		return r;
	if (err)
		err->code = -EINVAL;
	return -EINVAL;
}

int request_only(const struct json_at *at, const char *const *known, size_t n,
		 struct mvm_error *err)
{
	AUTO_JSON json_t *others = NULL;
	int r = json_unknown(at, known, n, &others, err);
	if (r < 0 || !others)
		return r;
	const char *key = json_object_iter_key(json_object_iter(others));
	const char *near = str_nearest(key, known, n);
	json_error(at, key, err, "unknown member%s%s%s", near ? ", did you mean '" : "",
		   near ? near : "", near ? "'?" : "");
	return request_bad_body(-EBADMSG, err);
}
