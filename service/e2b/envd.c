/* SPDX-License-Identifier: Apache-2.0 */
#include "e2b/envd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/parse.h"
#include "codec/base64.h"
#include "codec/json.h"
#include "request.h"
#include "server.h"
#include "stream.h"

#define FRAME_HEAD     5
#define FRAME_END_FLAG 2
#define KEEPALIVE_S    90

/* ---- failures ---- */

static const struct {
	int code;
	unsigned status;
	const char *word;
} words[] = {
	{ -ENOENT, 404, "not_found" },
	{ -EEXIST, 409, "already_exists" },
	{ -EINVAL, 400, "invalid_argument" },
	{ -ENOTDIR, 400, "invalid_argument" },
	{ -EISDIR, 400, "invalid_argument" },
	{ -EBADMSG, 400, "invalid_argument" },
	{ -ENAMETOOLONG, 400, "invalid_argument" },
	{ -ELOOP, 400, "invalid_argument" },
	{ -EKEYREJECTED, 401, "unauthenticated" },
	{ -EACCES, 403, "permission_denied" },
	{ -EPERM, 403, "permission_denied" },
	{ -EROFS, 403, "permission_denied" },
	{ -ENOSPC, 507, "resource_exhausted" },
	{ -EPIPE, 400, "failed_precondition" },
	{ -EFBIG, 413, "resource_exhausted" },
	{ -EDQUOT, 507, "resource_exhausted" },
	{ -EOPNOTSUPP, 501, "unimplemented" },
	{ -ENOSYS, 405, "unimplemented" },
	{ -EBUSY, 503, "unavailable" },
	{ -EAGAIN, 503, "unavailable" },
	{ -EHOSTDOWN, 502, "unavailable" },
	{ -EREMOTEIO, 502, "unavailable" },
	{ -ETIMEDOUT, 504, "deadline_exceeded" },
};

static size_t find_word(int code)
{
	for (size_t i = 0; i < MVM_ARRAY_SIZE(words); i++) {
		if (words[i].code == code)
			return i;
	}
	return MVM_ARRAY_SIZE(words);
}

const char *envd_word(int code)
{
	size_t i = find_word(code);
	return i < MVM_ARRAY_SIZE(words) ? words[i].word : "internal";
}

static unsigned status_of(int code)
{
	size_t i = find_word(code);
	return i < MVM_ARRAY_SIZE(words) ? words[i].status : 500;
}

json_t *envd_text(const char *s)
{
	struct json_out out = { 0 };
	json_t *o = json_new(&out);
	json_put_text(&out, o, "text", s);
	json_t *text = json_incref(json_object_get(o, "text"));
	json_decref(o);
	return text ? text : json_string("");
}

/* Of a sandbox that is gone: the packages look for these words. */
static void fail_gone(struct request *rq)
{
	const char *id = request_header(rq, "E2b-Sandbox-Id");
	request_reply_json(rq, 502,
			   json_pack("{s:o, s:s, s:i}", "sandboxId", envd_text(id ? id : ""),
				     "message", "The sandbox was not found", "code", 502));
}

void envd_fail(struct request *rq, unsigned status, const struct mvm_error *err)
{
	if (status_of(err->code) == 502) {
		fail_gone(rq);
		return;
	}
	bool files = strcmp(rq->target, "/files") == 0;
	status = find_word(err->code) < MVM_ARRAY_SIZE(words) ? status_of(err->code) : status;
	if (status == 507 && !files)
		status = 429;
	json_t *o = json_pack("{s:o}", "message", envd_text(err->text));
	if (files)
		json_object_set_new(o, "code", json_integer(status));
	else
		json_object_set_new(o, "code", json_string(envd_word(err->code)));
	request_reply_json(rq, status, o);
}

static void put_frame(struct strbuf *b, unsigned flags, const char *text)
{
	size_t len = strlen(text);
	uint8_t head[FRAME_HEAD] = { (uint8_t)flags, (uint8_t)(len >> 24), (uint8_t)(len >> 16),
				     (uint8_t)(len >> 8), (uint8_t)len };
	strbuf_add(b, head, sizeof(head));
	strbuf_add(b, text, len);
}

static char *end_text(const struct mvm_error *err)
{
	json_t *o = json_object();
	if (err)
		json_object_set_new(o, "error",
				    json_pack("{s:s, s:o}", "code", envd_word(err->code), "message",
					      envd_text(err->text)));
	char *text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return text;
}

void envd_fail_stream(struct request *rq, unsigned status, const struct mvm_error *err)
{
	AUTO_DONE(strbuf) b = { 0 };
	AUTO_FREE char *text = end_text(err);
	(void)status;
	if (status_of(err->code) == 502) {
		fail_gone(rq);
		return;
	}
	put_frame(&b, FRAME_END_FLAG, text ? text : "{}");
	request_reply_text(rq, 200, "application/connect+json", b.data, b.len);
}

int envd_send(struct stream *s, json_t *message)
{
	AUTO_DONE(strbuf) b = { 0 };
	char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
	json_decref(message);
	if (text)
		put_frame(&b, 0, text);
	int r = !text || b.failed ? -ENOMEM : stream_write(s, b.data, b.len);
	free(text);
	if (r < 0)
		stream_abort(s);
	return r;
}

void envd_end(struct stream *s, const struct mvm_error *err)
{
	AUTO_DONE(strbuf) b = { 0 };
	AUTO_FREE char *text = end_text(err);
	put_frame(&b, FRAME_END_FLAG, text ? text : "{}");
	if (stream_write(s, b.data, b.len) == 0)
		stream_end(s);
}

/* ---- bodies ---- */

static void free_call(void *own)
{
	struct envd_call *call = own;
	strbuf_done(&call->body);
	json_decref(call->json);
	free(call);
}

int envd_begin(struct request *rq, struct mvm_error *err)
{
	struct sandbox *s;
	int r = envd_sandbox(rq, false, &s, err);
	if (r < 0)
		return r;
	rq->own = calloc(1, sizeof(struct envd_call));
	rq->own_free = free_call;
	return rq->own ? 0 : mvm_error_oom(err);
}

int envd_upload(struct request *rq, const char *data, size_t *len, struct mvm_error *err)
{
	struct envd_call *call = rq->own;
	if (call->body.len + *len > ENVD_BODY_MAX)
		return mvm_error_set(err, -EFBIG, "the message is larger than %zu bytes",
				     ENVD_BODY_MAX);
	strbuf_add(&call->body, data, *len);
	return call->body.failed ? mvm_error_oom(err) : 0;
}

static uint32_t frame_len(const char *head)
{
	const uint8_t *b = (const uint8_t *)head + 1;
	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

int envd_take(struct request *rq, bool framed, struct mvm_error *err)
{
	struct envd_call *call = rq->own;
	const char *text = call->body.data ? call->body.data : "";
	size_t len = call->body.len;

	if (framed) {
		if (len < FRAME_HEAD || frame_len(text) > len - FRAME_HEAD)
			return mvm_error_set(err, -EINVAL, "the message is not whole");
		if (text[0])
			return mvm_error_set(err, -EOPNOTSUPP, "messages must not be compressed");
		len = frame_len(text);
		text += FRAME_HEAD;
	}
	struct json_at at;
	int r = json_read_object(len ? text : "{}", len ? len : 2, "the message", &call->json, &at,
				 err);
	if (r < 0)
		return request_bad_body(r, err);
	envd_user(rq, call->user);
	return 0;
}

/* ---- who asks, for which sandbox ---- */

bool envd_same(const char *a, const char *b)
{
	const size_t len = strlen(a);
	return len == strlen(b) && str_eq_secret(a, b, len);
}

/* The id in "49983-ID.domain" of the Host header; "": none. */
static void id_of_host(const struct request *rq, char ret[SANDBOX_ID_SIZE])
{
	const char *host = request_header(rq, "Host");
	ret[0] = '\0';
	if (!host)
		return;
	size_t digits = strspn(host, "0123456789");
	size_t n = host[digits] == '-' && digits ? strcspn(host + digits + 1, ".:") : 0;
	if (n > 0 && n < SANDBOX_ID_SIZE) {
		memcpy(ret, host + digits + 1, n);
		ret[n] = '\0';
	}
}

struct sandbox *envd_named(const struct request *rq)
{
	const struct e2b *e = rq->server->e2b;
	const char *id = request_header(rq, "E2b-Sandbox-Id");
	char of_host[SANDBOX_ID_SIZE];
	if (!id)
		id_of_host(rq, of_host);
	return e ? sandbox_find(e, id ? id : of_host) : NULL;
}

static bool has_token(const struct request *rq, const struct sandbox *s)
{
	const char *token = sandbox_text(s->doc, "accessToken");
	const char *given = request_header(rq, "X-Access-Token");
	return !token || (given && envd_same(given, token));
}

int envd_wake(struct request *rq, struct sandbox *s, bool may, struct mvm_error *err)
{
	if (sandbox_runs(s) || !sandbox_wakes(s))
		return 0; /* who may not use it is told so later */
	if (!may)
		return mvm_error_set(err, -EACCES,
				     "the sandbox is paused, and the access token with which a "
				     "request resumes it is missing or wrong");
	return sandbox_wake_for(rq->server->e2b, s, rq, err);
}

int envd_prepare(struct request *rq, struct mvm_error *err)
{
	struct sandbox *s = envd_named(rq);
	return s ? envd_wake(rq, s, has_token(rq, s), err) : 0;
}

int envd_sandbox(struct request *rq, bool signed_too, struct sandbox **ret, struct mvm_error *err)
{
	struct e2b *e = NULL;
	int r = e2b_of(rq->server, &e, err);
	if (r < 0)
		return r;
	struct sandbox *s = envd_named(rq);
	if (!s || !sandbox_runs(s))
		return mvm_error_set(err, -EHOSTDOWN, "the sandbox was not found");
	if (!has_token(rq, s) && !(signed_too && !request_header(rq, "X-Access-Token")))
		return mvm_error_set(err, -EKEYREJECTED, "the access token is missing or wrong");
	*ret = s;
	return 0;
}

void envd_user(struct request *rq, char ret[USER_MAX])
{
	const char *header = request_header(rq, "Authorization");
	uint8_t *text = NULL;
	size_t len = 0;

	snprintf(ret, USER_MAX, "user");
	if (!header || strncasecmp(header, "Basic ", 6) != 0 ||
	    base64_bytes(header + 6, strlen(header + 6), &text, &len) < 0)
		return;
	size_t n = strcspn((char *)text, ":");
	if (n > 0 && n < USER_MAX)
		snprintf(ret, USER_MAX, "%.*s", (int)n, (char *)text);
	free(text);
}

int64_t envd_keepalive_ms(struct request *rq)
{
	const char *text = request_header(rq, "Keepalive-Ping-Interval");
	uint64_t s = KEEPALIVE_S;
	if (text)
		parse_u64(text, 1, 3600, &s); /* else the usual one */
	return (int64_t)s * 1000;
}

static void add_variables(json_t *from, struct strv *ret)
{
	const char *name;
	json_t *value;
	json_object_foreach(from, name, value)
	{
		if (*name && json_is_string(value))
			strv_addf(ret, "%s=%s", name, json_string_value(value));
	}
}

void envd_variables(const struct sandbox *s, json_t *more, const char *user, struct strv *ret)
{
	strv_addf(ret, "LOGNAME=%s", user);
	strv_add(ret, "E2B_SANDBOX=true");
	strv_addf(ret, "E2B_SANDBOX_ID=%s", s->id);
	strv_addf(ret, "E2B_TEMPLATE_ID=%s", sandbox_text(s->doc, "template"));
	add_variables(json_object_get(s->doc, "envVars"), ret);
	add_variables(more, ret);
}

/* ---- routes ---- */

static int health(struct request *rq, struct mvm_error *err)
{
	struct sandbox *s;
	int r = envd_sandbox(rq, true, &s, err);
	if (r == 0)
		request_reply_text(rq, 204, "text/plain", "", 0);
	return r;
}

#define CALL(path, fn, how)                                                                        \
	{                                                                                          \
		.method = "POST", .pattern = (path), .scope = SCOPE_NONE, .prepare = envd_prepare, \
		.begin = envd_begin, .upload = envd_upload, .handle = (fn), .bare = true,          \
		.fail = (how)                                                                      \
	}
#define PROCESS(name, fn)	 CALL("/process.Process/" name, fn, envd_fail)
#define PROCESS_STREAM(name, fn) CALL("/process.Process/" name, fn, envd_fail_stream)
#define FILES(name, fn)		 CALL("/filesystem.Filesystem/" name, fn, envd_fail)

const struct route e2b_envd_routes[] = {
	{ .method = "GET",
	  .pattern = "/health",
	  .scope = SCOPE_NONE,
	  .prepare = envd_prepare,
	  .handle = health,
	  .fail = envd_fail },
	PROCESS("List", process_list),
	PROCESS("Update", process_update),
	PROCESS("SendInput", process_send_input),
	PROCESS("SendSignal", process_send_signal),
	PROCESS("CloseStdin", process_close_stdin),
	PROCESS_STREAM("Start", process_start),
	PROCESS_STREAM("Connect", process_connect),
	PROCESS_STREAM("StreamInput", process_stream_input),
	FILES("Stat", filesystem_call),
	FILES("MakeDir", filesystem_call),
	FILES("Move", filesystem_call),
	FILES("ListDir", filesystem_call),
	FILES("Remove", filesystem_call),
	CALL("/filesystem.Filesystem/WatchDir", filesystem_watch, envd_fail_stream),
	FILES("CreateWatcher", filesystem_create_watcher),
	FILES("GetWatcherEvents", filesystem_watcher_events),
	FILES("RemoveWatcher", filesystem_remove_watcher),
	{ .method = "GET",
	  .pattern = "/files",
	  .scope = SCOPE_NONE,
	  .prepare = files_prepare,
	  .handle = files_get,
	  .fail = envd_fail },
	{ .method = "POST",
	  .pattern = "/files",
	  .scope = SCOPE_NONE,
	  .prepare = files_prepare,
	  .begin = files_begin,
	  .upload = files_upload,
	  .handle = files_post,
	  .fail = envd_fail },
	{ 0 },
};
