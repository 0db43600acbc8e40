/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/parse.h"
#include "base/queue.h"
#include "guest.h"
#include "head.h"
#include "request.h"
#include "server.h"
#include "stream.h"
#include "upgrade.h"

#define OUT_BYTES   ((size_t)64 * 1024) /* of the request that wait for the guest */
#define INTERIM_MAX 16			/* answers of 1xx */
#define ANSWER_MS   INT64_C(300000)	/* for the head of an answer */

/* The request's own data, except that an upgrade takes it over. */
struct proxy {
	struct request *rq;
	struct guest *guest;
	struct queue out; /* to the guest */
	struct strbuf in; /* of the answer's head */
	struct loop_source *timer;
	struct head *head; /* of the answer, while it is read */
	struct body body;
	struct stream *stream;	 /* the answer, once its head was read */
	struct upgrade *upgrade; /* or that */
	bool is_head, chunked, wants_upgrade, sandboxed;
	bool waits;    /* the client's next piece must wait */
	bool answered; /* with the answer, or with a failure */
	bool client_ended;
	unsigned interim;
	void (*closed)(void *arg);
	void *arg;
};

static void free_proxy(void *own)
{
	struct proxy *p = own;
	guest_close(p->guest);
	if (p->closed)
		p->closed(p->arg);
	loop_source_free(p->timer);
	queue_done(&p->out);
	strbuf_done(&p->in);
	free(p->head);
	free(p);
}

static void drop_guest(struct proxy *p)
{
	guest_close(p->guest);
	p->guest = NULL;
	loop_source_arm(p->timer, DEADLINE_NONE);
	if (p->waits) { /* the rest of the body is read and dropped */
		p->waits = false;
		request_more(p->rq);
	}
}

static void fail(struct proxy *p, const struct mvm_error *err)
{
	if (p->upgrade)
		upgrade_finish(p->upgrade);
	else if (p->stream)
		stream_abort(p->stream);
	else if (!p->answered)
		request_fail(p->rq, err);
	p->answered = true;
	drop_guest(p);
}

static void fail_with(struct proxy *p, int code, const char *text)
{
	struct mvm_error err = { 0 };
	mvm_error_set(&err, code, "%s", text);
	fail(p, &err);
}

/* ---- to the guest ---- */

/* Send what waits, as far as the guest takes it. */
static void flush(struct proxy *p)
{
	struct mvm_error ignored;
	while (p->guest && queue_len(&p->out) > 0) {
		int n = guest_write(p->guest, queue_front(&p->out), queue_len(&p->out), &ignored);
		if (n == 0)
			break;
		/* after its end the server takes nothing, but its answer may be on its way */
		queue_take(&p->out, n < 0 ? queue_len(&p->out) : (size_t)n);
	}
	if (p->out.buf.failed)
		fail_with(p, -ENOMEM, "out of memory");
}

static void on_room(void *arg)
{
	struct proxy *p = arg;
	flush(p);
	if (!p->guest || queue_len(&p->out) > 0)
		return;
	if (p->waits) {
		p->waits = false;
		request_more(p->rq);
	}
	if (p->upgrade)
		upgrade_resume(p->upgrade);
	if (p->client_ended)
		guest_end_input(p->guest, NULL);
}

int proxy_upload(struct request *rq, const char *data, size_t *len, struct mvm_error *err)
{
	struct proxy *p = rq->own;
	char size[24];

	(void)err;
	if (!p->guest || p->answered)
		return 0; /* nobody wants it any more */
	p->waits = queue_len(&p->out) >= OUT_BYTES;
	if (p->waits) {
		*len = 0;
		return 0;
	}
	snprintf(size, sizeof(size), "%zx\r\n", *len);
	if (p->chunked)
		queue_add(&p->out, size, strlen(size));
	queue_add(&p->out, data, *len);
	if (p->chunked)
		queue_add(&p->out, "\r\n", 2);
	flush(p);
	return 0;
}

/* ---- the answer ---- */

static void on_stream_room(void *arg)
{
	struct proxy *p = arg;
	if (p->guest)
		guest_resume(p->guest);
}

static void on_stream_closed(void *arg)
{
	struct proxy *p = arg;
	p->stream = NULL;
	guest_close(p->guest);
	p->guest = NULL;
}

static const struct stream_ops stream_ops = { .room = on_stream_room, .closed = on_stream_closed };

/* Pass on what belongs to the body. */
static void take_body(struct proxy *p, const char *data, size_t len)
{
	while (len > 0 && p->stream && !p->body.ended) {
		const char *piece;
		size_t n;
		int r = body_take(&p->body, data, len, &piece, &n);
		if (r < 0) {
			fail_with(p, r, "the guest's server sent a damaged body");
			return;
		}
		if (n > 0)
			stream_write(p->stream, piece, n);
		data += r;
		len -= (size_t)r;
	}
	if (p->stream && p->body.ended) {
		stream_end(p->stream);
		drop_guest(p);
	} else if (p->stream && stream_room(p->stream) == 0) {
		guest_pause(p->guest);
	}
}

static void add_field(struct proxy *p, const struct head_field *f)
{
	AUTO_FREE char *name = strndup(f->name, f->name_len);
	AUTO_FREE char *value = strndup(f->value, f->value_len);
	if (name && value && *value)
		request_add_header(p->rq, name, value);
}

/* Is the field one of mvmd's own, or one that would change more than the guest's own pages? */
static bool is_kept_back(const struct proxy *p, const struct head_field *f)
{
	/* of the whole host name or address, also of what mvmd itself serves there */
	static const char *const whole[] = { "set-cookie",
					     "content-security-policy",
					     "service-worker-allowed",
					     "strict-transport-security",
					     "alt-svc",
					     "nel",
					     "report-to" };
	if (head_is_hop(p->head, f) || head_field_is(f, "content-length"))
		return true;
	if (head_field_is(f, "clear-site-data")) /* by host name too: it clears cookies above it */
		return true;
	for (size_t i = 0; p->sandboxed && i < MVM_ARRAY_SIZE(whole); i++) {
		if (head_field_is(f, whole[i]))
			return true;
	}
	return false;
}

static void answer(struct proxy *p, const char *rest, size_t rest_len)
{
	const struct head *h = p->head;
	struct mvm_error err = { 0 };
	bool sized = h->body == HEAD_BODY_LENGTH || (p->is_head && h->has_length);

	for (size_t i = 0; i < h->n_fields; i++) {
		if (!is_kept_back(p, &h->fields[i]))
			add_field(p, &h->fields[i]);
	}
	if (p->sandboxed) /* the page gets an origin of its own, not mvmd's */
		request_add_header(p->rq, "Content-Security-Policy",
				   "sandbox allow-downloads allow-forms allow-modals allow-popups "
				   "allow-scripts");
	body_begin(&p->body, h);
	uint64_t size = h->body == HEAD_BODY_NONE ? 0 : MHD_SIZE_UNKNOWN;
	if (sized)
		size = h->length;
	p->answered = true;
	loop_source_arm(p->timer, DEADLINE_NONE);
	if (stream_open_sized(p->rq, h->status, NULL, size, &stream_ops, p, &p->stream, &err) < 0) {
		p->answered = false;
		fail(p, &err);
		return;
	}
	take_body(p, rest, rest_len);
}

/* ---- after a 101 ---- */

static void on_client_data(void *arg, const void *data, size_t len)
{
	struct proxy *p = arg;
	if (!p->guest)
		return;
	queue_add(&p->out, data, len);
	flush(p);
	if (p->guest && queue_len(&p->out) > 0)
		upgrade_pause(p->upgrade);
}

static void on_client_end(void *arg)
{
	struct proxy *p = arg;
	p->client_ended = true;
	if (p->guest && queue_len(&p->out) == 0)
		guest_end_input(p->guest, NULL);
}

static void on_upgrade_closed(void *arg)
{
	free_proxy(arg);
}

static const struct upgrade_ops upgrade_ops = { .data = on_client_data,
						.end = on_client_end,
						.room = on_stream_room,
						.closed = on_upgrade_closed };

static void switch_protocol(struct proxy *p, const char *rest, size_t rest_len)
{
	AUTO_DONE(strv) fields = { 0 };
	AUTO_FREE char *protocol = NULL;
	const struct head *h = p->head;
	struct mvm_error err = { 0 };

	for (size_t i = 0; i < h->n_fields; i++) {
		const struct head_field *f = &h->fields[i];
		if (head_field_is(f, "upgrade") && !protocol)
			protocol = strndup(f->value, f->value_len);
		if (is_kept_back(p, f) || f->value_len == 0)
			continue;
		strv_addn(&fields, f->name, f->name_len);
		strv_addn(&fields, f->value, f->value_len);
	}
	if (!p->wants_upgrade || !protocol || !*protocol) {
		fail_with(p, -EPROTO, "the guest's server switches to another protocol unasked");
		return;
	}
	const struct upgrade_reply reply = { protocol, (const char *const *)fields.v };
	p->answered = true;
	loop_source_arm(p->timer, DEADLINE_NONE);
	if (fields.failed || upgrade_open(p->rq, &reply, &upgrade_ops, p, &p->upgrade, &err) < 0) {
		p->answered = false;
		fail_with(p, -ENOMEM, "out of memory");
		return;
	}
	upgrade_write(p->upgrade, rest, rest_len);
}

/* ---- from the guest ---- */

/* Read the answer's head. */
static void take_head(struct proxy *p, const struct mvm_exec_event *event)
{
	struct mvm_error err = { 0 };

	strbuf_add(&p->in, event->data, event->len);
	if (!p->head)
		p->head = malloc(sizeof(*p->head));
	if (!p->head || p->in.failed) {
		fail_with(p, -ENOMEM, "out of memory");
		return;
	}
	/* read it once for each line, not for each byte that a guest sends alone */
	if (!memchr(event->data, '\n', event->len) && p->in.len < HEAD_BYTES_MAX)
		return;
	for (;;) {
		int n = head_parse(p->in.data ? p->in.data : "", p->in.len, p->is_head, p->head,
				   &err);
		if (n == 0)
			return;
		if (n < 0) {
			err.code = -EPROTO; /* too large is not the client's fault */
			fail(p, &err);
			return;
		}
		if (p->head->status == MHD_HTTP_SWITCHING_PROTOCOLS) {
			switch_protocol(p, p->in.data + n, p->in.len - (size_t)n);
			break;
		}
		if (p->head->status >= 200) {
			answer(p, p->in.data + n, p->in.len - (size_t)n);
			break;
		}
		if (++p->interim > INTERIM_MAX) {
			fail_with(p, -EPROTO, "the guest's server never comes to its answer");
			return;
		}
		strbuf_consume(&p->in, (size_t)n);
	}
	strbuf_done(&p->in);
	p->in = (struct strbuf){ 0 };
	free(p->head);
	p->head = NULL;
}

static void server_ended(struct proxy *p)
{
	if (p->upgrade) {
		upgrade_finish(p->upgrade);
	} else if (p->stream && body_close(&p->body) == 0) {
		stream_end(p->stream);
	} else {
		fail_with(p, -EPROTO,
			  "the guest's server closed its connection before its answer was whole");
		return;
	}
	drop_guest(p);
}

static void on_event(void *arg, const struct mvm_exec_event *event)
{
	struct proxy *p = arg;
	if (event->kind == MVM_EXEC_EXITED) {
		server_ended(p);
	} else if (event->kind == MVM_EXEC_STDOUT && p->upgrade) {
		upgrade_write(p->upgrade, event->data, event->len);
		if (upgrade_room(p->upgrade) == 0)
			guest_pause(p->guest);
	} else if (event->kind == MVM_EXEC_STDOUT && p->stream) {
		take_body(p, event->data, event->len);
	} else if (event->kind == MVM_EXEC_STDOUT && !p->answered) {
		take_head(p, event);
	}
}

static void on_failed(void *arg, const struct mvm_error *err)
{
	fail(arg, err);
}

static const struct guest_ops guest_ops = { .event = on_event,
					    .failed = on_failed,
					    .room = on_room };

static void on_time(void *arg)
{
	fail_with(arg, -ETIMEDOUT, "the guest's server gave no answer in time");
}

int proxy_handle(struct request *rq, struct mvm_error *err)
{
	struct proxy *p = rq->own;
	(void)err;
	if (p->answered)
		return 0;
	if (p->chunked)
		queue_add(&p->out, "0\r\n\r\n", 5);
	flush(p);
	if (!p->answered)
		loop_source_arm(p->timer, clock_deadline_ns(ANSWER_MS));
	return 0;
}

/* ---- the request ---- */

struct fields {
	struct strbuf *out;
	const struct proxy_spec *spec;
	const char *connection; /* what it lists is for one connection */
};

/* Does the list "a, b" have this word? */
static bool list_has(const char *list, const char *word)
{
	size_t len = strlen(word);
	for (const char *at = list; at && *at;) {
		at += strspn(at, ", \t");
		size_t n = strcspn(at, ", \t");
		if (n == len && strncasecmp(at, word, n) == 0)
			return true;
		at += n;
	}
	return false;
}

static enum MHD_Result add_request_field(void *arg, enum MHD_ValueKind kind, const char *name,
					 const char *value)
{
	static const char *const ours[] = { "host",
					    "connection",
					    "keep-alive",
					    "proxy-connection",
					    "te",
					    "trailer",
					    "transfer-encoding",
					    "upgrade",
					    "content-length",
					    "expect",
					    "proxy-authorization",
					    "x-forwarded-host",
					    "x-forwarded-prefix",
					    "e2b-traffic-access-token" };
	const struct fields *f = arg;
	(void)kind;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(ours); i++) {
		if (strcasecmp(name, ours[i]) == 0)
			return MHD_YES;
	}
	bool credentials = (f->spec->hides_authorization &&
			    (strcasecmp(name, "authorization") == 0 ||
			     strcasecmp(name, "x-api-key") == 0)) ||
			   (f->spec->prefix && strcasecmp(name, "cookie") == 0) ||
			   strncasecmp(name, "x-mvm-", 6) == 0;
	if (!credentials && !list_has(f->connection, name))
		strbuf_addf(f->out, "%s: %s\r\n", name, value ? value : "");
	return MHD_YES;
}

/* Write the request's head for the guest. */
static void put_request(struct proxy *p, const struct proxy_spec *spec, struct strbuf *out)
{
	const char *host = request_header(p->rq, "Host");
	const char *length = request_header(p->rq, "Content-Length");
	const char *upgrade = request_header(p->rq, "Upgrade");
	struct fields fields = { .out = out,
				 .spec = spec,
				 .connection = request_header(p->rq, "Connection") };

	p->chunked = request_header(p->rq, "Transfer-Encoding") != NULL;
	p->wants_upgrade = upgrade && list_has(fields.connection, "upgrade") && !p->chunked &&
			   (!length || strcmp(length, "0") == 0);
	strbuf_addf(out, "%s %s%s%s HTTP/1.1\r\n", p->rq->method, spec->path,
		    spec->query ? "?" : "", spec->query ? spec->query : "");
	if (spec->prefix) {
		strbuf_addf(out, "Host: localhost:%u\r\n", spec->port);
		if (spec->prefix[0])
			strbuf_addf(out, "X-Forwarded-Prefix: %s\r\n", spec->prefix);
	} else {
		strbuf_addf(out, "Host: %s\r\n", host ? host : "localhost");
	}
	if (host)
		strbuf_addf(out, "X-Forwarded-Host: %s\r\n", host);
	MHD_get_connection_values(p->rq->connection, MHD_HEADER_KIND, add_request_field, &fields);
	if (p->chunked)
		strbuf_adds(out, "Transfer-Encoding: chunked\r\n");
	else if (length)
		strbuf_addf(out, "Content-Length: %s\r\n", length);
	if (p->wants_upgrade)
		strbuf_addf(out, "Connection: Upgrade\r\nUpgrade: %s\r\n\r\n", upgrade);
	else
		strbuf_adds(out, "Connection: close\r\n\r\n");
}

void proxy_cut(struct proxy *p)
{
	if (p->guest) /* else its answer is whole, and on its way to the client */
		fail_with(p, -EHOSTDOWN, "the VM is being paused or ended");
}

int proxy_begin(struct request *rq, const struct proxy_spec *spec, struct proxy **ret,
		struct mvm_error *err)
{
	struct mvm_exec *exec = NULL;
	struct proxy *p = calloc(1, sizeof(*p));
	if (!p)
		return mvm_error_oom(err);
	p->rq = rq;
	p->is_head = strcmp(rq->method, "HEAD") == 0;
	p->sandboxed = spec->prefix != NULL;
	put_request(p, spec, &p->out.buf);
	int r = p->out.buf.failed ? mvm_error_oom(err) : 0;
	if (r == 0 && loop_add_timer(rq->server->loop, DEADLINE_NONE, on_time, p, &p->timer) < 0)
		r = mvm_error_oom(err);
	if (r == 0)
		r = mvm_port_open(rq->server->mvm, spec->instance, spec->port, &exec, err);
	if (r == 0)
		r = guest_new(rq->server->loop, exec, &guest_ops, p, &p->guest, err);
	if (r < 0) {
		free_proxy(p);
		return r;
	}
	rq->own = p;
	rq->own_free = free_proxy;
	p->closed = spec->closed;
	p->arg = spec->arg;
	if (ret)
		*ret = p;
	flush(p);
	return 0;
}

bool proxy_host(const char *host, char name[PROXY_NAME_SIZE], uint16_t *ret_port)
{
	char port[8];
	uint64_t number;
	const char *dash = host ? strchr(host, '-') : NULL;
	const char *dot = dash ? strchr(dash, '.') : NULL;

	if (!dot || dash == host || (size_t)(dash - host) >= sizeof(port) || dot == dash + 1 ||
	    (size_t)(dot - dash - 1) >= PROXY_NAME_SIZE)
		return false;
	snprintf(port, sizeof(port), "%.*s", (int)(dash - host), host);
	if (parse_u64(port, 1, UINT16_MAX, &number) < 0)
		return false;
	snprintf(name, PROXY_NAME_SIZE, "%.*s", (int)(dot - dash - 1), dash + 1);
	*ret_port = (uint16_t)number;
	return true;
}
