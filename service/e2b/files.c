/* SPDX-License-Identifier: Apache-2.0 */
/* /files: whole files into a sandbox's guest and out of it, piece by piece. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/parse.h"
#include "codec/base64.h"
#include "codec/json.h"
#include "codec/sha256.h"
#include "e2b/files.h"
#include "request.h"
#include "server.h"
#include "stream.h"

#define HEAD_MAX 65536u

/* ---- who asks ---- */

/* Check a signature of the query, as in doc/e2b.md. */
static int check_signature(const struct request *rq, const char *token, bool writes,
			   struct mvm_error *err)
{
	const char *path = request_query(rq, "path"), *user = request_query(rq, "username");
	const char *given = request_query(rq, "signature");
	const char *expires = request_query(rq, "signature_expiration");
	AUTO_DONE(strbuf) text = { 0 };
	struct mvm_digest digest;
	uint64_t until = 0;

	if (!given)
		return mvm_error_set(err, -EKEYREJECTED, "the access token is missing");
	strbuf_addf(&text, "%s:%s:%s:%s", path ? path : "", writes ? "write" : "read",
		    user ? user : "", token);
	if (expires && parse_u64(expires, 0, INT64_MAX, &until) < 0)
		return mvm_error_set(err, -EINVAL, "'signature_expiration' is no number");
	if (expires)
		strbuf_addf(&text, ":%s", expires);
	if (text.failed)
		return mvm_error_oom(err);
	sha256_buf(text.data, text.len, &digest);
	AUTO_FREE char *right = base64_text(digest.bytes, sizeof(digest.bytes));
	if (!right)
		return mvm_error_oom(err);
	right[strcspn(right, "=")] = '\0';
	const size_t len = strlen(right);
	if (strncmp(given, "v1_", 3) != 0 || strlen(given) != len + 3 ||
	    !str_eq_secret(given + 3, right, len))
		return mvm_error_set(err, -EKEYREJECTED, "the signature is wrong");
	if (expires && until < (uint64_t)(clock_wall_ns() / NS_PER_S))
		return mvm_error_set(err, -EKEYREJECTED, "signature is already expired");
	return 0;
}

/*
 * A signed address need not say whose it is (E2B_SANDBOX_URL): only one sandbox's token makes its
 * signature.
 */
static int find_signed(const struct request *rq, bool writes, struct sandbox **ret,
		       struct mvm_error *err)
{
	const struct e2b *e = rq->server->e2b;
	for (struct sandbox *s = e ? e->sandboxes : NULL; s; s = s->next) {
		const char *token = sandbox_text(s->doc, "accessToken");
		struct mvm_error why = { 0 };
		int r = token ? check_signature(rq, token, writes, &why) : -EHOSTDOWN;
		if (r < 0 && !strstr(why.text, "is already expired"))
			continue;
		*ret = s;
		return r < 0 ? mvm_error_set(err, r, "%s", why.text) : 0;
	}
	return mvm_error_set(err, -EKEYREJECTED, "the signature is wrong");
}

static bool names_none(const struct request *rq)
{
	return !request_header(rq, "E2b-Sandbox-Id") && request_query(rq, "signature");
}

int files_prepare(struct request *rq, struct mvm_error *err)
{
	const bool writes = strcmp(rq->method, "POST") == 0;
	struct mvm_error why = { 0 };
	struct sandbox *s = envd_named(rq);
	int r = 0;

	if (request_header(rq, "X-Access-Token"))
		return envd_prepare(rq, err);
	if (!s && names_none(rq))
		r = find_signed(rq, writes, &s, &why);
	if (r < 0 || !s)
		return 0; /* files_find() says why */
	const char *token = sandbox_text(s->doc, "accessToken");
	return envd_wake(rq, s, !token || check_signature(rq, token, writes, &why) == 0, err);
}

int files_find(struct request *rq, bool writes, struct sandbox **ret, char user[USER_MAX],
	       struct mvm_error *err)
{
	int r = envd_sandbox(rq, true, ret, err);
	if (r == -EHOSTDOWN && names_none(rq)) {
		r = find_signed(rq, writes, ret, err);
		if (r == 0 && !sandbox_runs(*ret))
			r = mvm_error_set(err, -EHOSTDOWN, "the sandbox was not found");
	}
	if (r < 0)
		return r;
	const char *token = sandbox_text((*ret)->doc, "accessToken");
	const char *name = request_query(rq, "username");
	if (token && !request_header(rq, "X-Access-Token"))
		r = check_signature(rq, token, writes, err);
	envd_user(rq, user);
	if (name && *name)
		snprintf(user, USER_MAX, "%s", name);
	return r;
}

int files_start(struct request *rq, const struct sandbox *s, const char *path, const char *user,
		const char *metadata, struct mvm_exec **ret, struct mvm_error *err)
{
	struct mvm_exec_start_options options = MVM_EXEC_START_OPTIONS_INIT;
	const char *const read[] = { "read", path, NULL };
	const char *const write[] = { "write", path, "", "", metadata, NULL };
	options.command = metadata ? write : read;
	options.user = user;
	options.files = true;
	options.input = metadata != NULL;
	return mvm_exec_start(rq->server->mvm, s->id, &options, ret, err);
}

void files_agent_failed(int status, const struct strbuf *text, struct mvm_error *err)
{
	mvm_error_set(err, status ? -status : -EIO, "%s",
		      text->len ? text->data : strerror(status ? status : EIO));
}

void files_say_why(struct mvm_error *err)
{
	if (err->code == -EINVAL && strstr(err->text, "has no user"))
		err->code = -EKEYREJECTED;
}

/* ---- out of the guest ---- */

struct download {
	struct sandbox_use use;
	struct request *rq; /* until it has its reply; NULL: it has */
	struct server *server;
	struct stream *stream;
	struct mvm_exec *exec;
	struct loop_source *source;
	struct strbuf head, text;
	bool entered; /* the entry has come */
	bool over;
};

static void on_out(void *arg, uint32_t events);

static void out_let_go(struct download *d)
{
	d->over = true;
	loop_source_free(d->source);
	d->source = NULL;
	sandbox_unuse(&d->use);
	mvm_exec_close(d->exec);
	d->exec = NULL;
}

static void out_free(void *arg)
{
	struct download *d = arg;
	out_let_go(d);
	request_unref(d->rq);
	strbuf_done(&d->head);
	strbuf_done(&d->text);
	free(d);
}

static void out_fail(struct download *d, struct mvm_error *err)
{
	files_say_why(err);
	if (d->stream) {
		out_let_go(d);
		stream_abort(d->stream);
		return;
	}
	request_fail(d->rq, err);
	out_free(d);
}

static void out_drop(struct sandbox_use *use)
{
	struct mvm_error err = { 0 };
	mvm_error_set(&err, -EHOSTDOWN, "the sandbox has gone");
	out_fail((struct download *)use, &err);
}

static void out_gone(void *arg)
{
	struct mvm_error err = { 0 };
	mvm_error_set(&err, -ECANCELED, "the client has gone");
	out_fail(arg, &err);
}

static void out_room(void *arg)
{
	struct download *d = arg;
	if (!d->over)
		on_out(d, 0);
}

/* The first bytes of the contents have come: reply.  Returns 0 or -errno. */
static int out_begin(struct download *d, struct mvm_error *err)
{
	static const struct stream_ops ops = { .room = out_room, .closed = out_free };
	struct request *rq = d->rq;
	int r = stream_open(rq, 200, "application/octet-stream", &ops, d, &d->stream, err);
	if (r < 0)
		return r;
	d->rq = NULL;
	request_unref(rq);
	return 0;
}

/* Take contents, after the entry.  Returns 0 or -errno. */
static int out_data(struct download *d, const char *data, size_t len, struct mvm_error *err)
{
	json_t *entry = NULL;
	if (!d->entered) {
		strbuf_add(&d->head, data, len);
		ssize_t n = guest_entry_json(d->head.data, d->head.len, &entry);
		json_decref(entry);
		if (n < 0 || d->head.failed || d->head.len > HEAD_MAX)
			return mvm_error_set(err, -EPROTO, "the guest's answer is damaged");
		if (n == 0)
			return 0;
		d->entered = true;
		data = d->head.data + n;
		len = d->head.len - (size_t)n;
	}
	if (len == 0)
		return 0;
	int r = d->stream ? 0 : out_begin(d, err);
	return r < 0 ? r : stream_write(d->stream, data, len);
}

static void out_end(struct download *d, int status)
{
	struct mvm_error err = { 0 };
	if (status != 0 || !d->entered) {
		files_agent_failed(status, &d->text, &err);
		out_fail(d, &err);
	} else if (d->stream) {
		out_let_go(d);
		stream_end(d->stream);
	} else { /* an empty file */
		request_reply_text(d->rq, 200, "application/octet-stream", "", 0);
		out_free(d);
	}
}

static void on_out(void *arg, uint32_t events)
{
	struct download *d = arg;
	const struct mvm_exec_event *e;
	struct mvm_error err = { 0 };
	int r = MVM_STREAM_WAIT;

	(void)events;
	while ((!d->stream || stream_room(d->stream) > 0) &&
	       (r = mvm_exec_read(d->exec, &e, &err)) == MVM_STREAM_ITEM) {
		if (e->kind == MVM_EXEC_STDERR && d->text.len < 1024)
			strbuf_add(&d->text, e->data, e->len);
		if (e->kind == MVM_EXEC_STDOUT && (r = out_data(d, e->data, e->len, &err)) < 0)
			break;
		if (e->kind == MVM_EXEC_EXITED) {
			out_end(d, e->signal ? EIO : e->status);
			return;
		}
	}
	if (r < 0) {
		out_fail(d, &err);
		return;
	}
	bool wanted = !d->stream || stream_room(d->stream) > 0;
	if (!wanted) {
		loop_source_free(d->source);
		d->source = NULL;
		return;
	}
	uint32_t want = (uint32_t)mvm_exec_events(d->exec);
	r = d->source ? loop_source_set_events(d->source, want)
		      : loop_add_fd(d->server->loop, mvm_exec_fd(d->exec), want, on_out, d,
				    &d->source);
	if (r < 0) {
		mvm_error_oom(&err);
		out_fail(d, &err);
	}
}

int files_get(struct request *rq, struct mvm_error *err)
{
	struct sandbox *s = NULL;
	char user[USER_MAX];
	const char *path = request_query(rq, "path");
	int r = files_find(rq, false, &s, user, err);
	if (r < 0)
		return r;
	struct download *d = calloc(1, sizeof(*d));
	if (!d)
		return mvm_error_oom(err);
	d->server = rq->server;
	r = files_start(rq, s, path ? path : "", user, NULL, &d->exec, err);
	if (r == 0 && loop_add_fd(rq->server->loop, mvm_exec_fd(d->exec),
				  (uint32_t)mvm_exec_events(d->exec), on_out, d, &d->source) < 0)
		r = mvm_error_oom(err);
	if (r < 0) {
		mvm_exec_close(d->exec);
		free(d);
		return r;
	}
	d->rq = request_ref(rq);
	request_on_gone(rq, out_gone, d);
	sandbox_use(s, &d->use, out_drop);
	return 0;
}
