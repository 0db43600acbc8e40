/* SPDX-License-Identifier: Apache-2.0 */
#include "console/console.h"

#include <errno.h>
#include <microhttpd.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "console/session.h"
#include "guard.h"
#include "request.h"
#include "server.h"

#define COOKIE	     "mvm-session"
#define KEY_PROTOCOL "mvm.key."

/* ---- files ---- */

/* Everything comes from here, nothing is inline, and no page of another site may hold ours. */
static void add_safety(struct request *rq)
{
	request_add_header(
		rq, "Content-Security-Policy",
		"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
		"connect-src 'self'; base-uri 'none'; form-action 'none'; "
		"frame-ancestors 'none'");
	request_add_header(rq, "X-Content-Type-Options", "nosniff");
	request_add_header(rq, "Referrer-Policy", "no-referrer");
	request_add_header(rq, "Cross-Origin-Opener-Policy", "same-origin");
	request_add_header(rq, "Cross-Origin-Resource-Policy", "same-origin");
}

static int send_file(struct request *rq, const char *name, struct mvm_error *err)
{
	const struct console_file *file = console_files;
	while (file->name && !str_eq(file->name, name))
		file++;
	if (!file->name)
		return mvm_error_set(err, -ENOENT, "the console has no file '%.80s'", name);

	const char *known = request_header(rq, "If-None-Match");
	bool unchanged = known && strstr(known, file->etag);
	struct MHD_Response *response = MHD_create_response_from_buffer(
		unchanged ? 0 : file->len, (void *)file->data, MHD_RESPMEM_PERSISTENT);
	if (!response)
		return mvm_error_oom(err);
	add_safety(rq);
	request_add_header(rq, "Content-Type", file->type);
	request_add_header(rq, "ETag", file->etag);
	request_add_header(rq, "Cache-Control",
			   "no-cache"); /* browsers ask each time, by the ETag */
	request_reply_response(rq, unchanged ? 304 : 200, response);
	return 0;
}

static int get_index(struct request *rq, struct mvm_error *err)
{
	return send_file(rq, "index.html", err);
}

static int get_file(struct request *rq, struct mvm_error *err)
{
	return send_file(rq, request_arg(rq, 0), err);
}

static int get_folder(struct request *rq, struct mvm_error *err)
{
	(void)err;
	request_add_header(rq, "Location", "/console/");
	request_reply_text(rq, 308, "text/plain", "", 0);
	return 0;
}

/* ---- sessions ---- */

static bool token_is_good(const struct request *rq, const char *token)
{
	const struct mvm_token_info *info;
	return mvm_tokens_find(rq->server->guard->tokens, token, strlen(token), &info, NULL) == 0;
}

/* Does the page that asks come from this server?  Clients other than browsers name no origin. */
static bool origin_is_ours(const struct request *rq)
{
	const char *origin = request_header(rq, "Origin"), *host = request_header(rq, "Host");
	const char *name = origin ? strstr(origin, "://") : NULL;
	return !origin || (name && str_eq(name + 3, host));
}

/* What a session needs, of a request; NULL where it is missing. */
struct credentials {
	const char *cookie, *key;
	char cookie_text[SESSION_ID_SIZE], key_text[SESSION_ID_SIZE];
};

static void find_credentials(const struct request *rq, struct credentials *ret)
{
	const char *key = request_header(rq, "X-Mvm-Session-Key");
	if (!key) {
		const char *protocols = request_header(rq, "Sec-WebSocket-Protocol");
		key = protocols ? strstr(protocols, KEY_PROTOCOL) : NULL;
		key = key ? key + strlen(KEY_PROTOCOL) : NULL;
	}
	ret->key = NULL;
	if (key && strnlen(key, SESSION_ID_SIZE) >= SESSION_ID_SIZE - 1) {
		memcpy(ret->key_text, key, SESSION_ID_SIZE - 1);
		ret->key_text[SESSION_ID_SIZE - 1] = '\0';
		ret->key = ret->key_text;
	}
	ret->cookie = console_session_cookie(request_header(rq, "Cookie"), COOKIE,
					     ret->cookie_text);
}

const char *console_token(const struct request *rq)
{
	struct credentials c;
	if (!origin_is_ours(rq))
		return NULL;
	find_credentials(rq, &c);
	return console_session_token(rq->server->sessions, c.cookie, c.key, clock_now_ns());
}

static void set_cookie(struct request *rq, const char *value, long seconds)
{
	const bool tls = MHD_get_connection_info(rq->connection, MHD_CONNECTION_INFO_PROTOCOL);
	AUTO_FREE char *text = str_printf(COOKIE
					  "=%s; Path=/; Max-Age=%ld; HttpOnly; SameSite=Strict%s",
					  value, seconds, tls ? "; Secure" : "");
	if (text)
		request_add_header(rq, "Set-Cookie", text);
}

static int sign_in(struct request *rq, struct mvm_error *err)
{
	AUTO_FREE char *token = NULL;
	char cookie[SESSION_ID_SIZE], key[SESSION_ID_SIZE];

	if (!origin_is_ours(rq))
		return mvm_error_set(err, -EACCES, "a page of another site cannot sign in");
	int r = json_get_string(&rq->body, "token", JSON_REQUIRED, &token, err);
	if (r < 0)
		return request_bad_body(r, err);
	if (!*token || strlen(token) > SESSION_TOKEN_MAX || !token_is_good(rq, token)) {
		mvm_error_set(err, -EKEYREJECTED, "no such token, or its time is over");
		return mvm_error_hint(err, -EKEYREJECTED, "mvm token add NAME");
	}
	console_session_open(rq->server->sessions, token, clock_now_ns(), cookie, key);
	set_cookie(rq, cookie, SESSION_HOURS * 3600L);
	request_reply(rq, 200, json_pack("{s:s}", "key", key));
	return 0;
}

/* Does this browser have to sign in? */
static int get_session(struct request *rq, struct mvm_error *err)
{
	(void)err;
	const char *token = console_token(rq);
	bool signed_in = rq->listener->path || (token && token_is_good(rq, token));
	request_reply(rq, 200, json_pack("{s:b}", "signed_in", signed_in));
	return 0;
}

static int sign_out(struct request *rq, struct mvm_error *err)
{
	struct credentials c;
	(void)err;
	find_credentials(rq, &c);
	console_session_close(rq->server->sessions, c.cookie, c.key);
	set_cookie(rq, "", 0);
	request_reply(rq, 200, json_object());
	return 0;
}

const struct route console_routes[] = {
	{ .method = "GET", .pattern = "/console", .handle = get_folder },
	{ .method = "GET", .pattern = "/console/", .handle = get_index },
	{ .method = "GET", .pattern = "/console/session", .handle = get_session },
	{ .method = "POST",
	  .pattern = "/console/session",
	  .handle = sign_in,
	  .body = true,
	  .body_max = 4096 },
	{ .method = "DELETE", .pattern = "/console/session", .handle = sign_out },
	{ .method = "GET", .pattern = "/console/{file}", .handle = get_file },
	{ 0 },
};
