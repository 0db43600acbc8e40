/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filesystem.Filesystem: watching a folder, as a stream or by asking again and again.
 *
 * Either way the guest's agent sends events.  A watcher that nobody asks keeps the last ones
 * (last_events.h).  It ends with its sandbox.
 */
#include "e2b/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/parse.h"
#include "codec/json.h"
#include "e2b/envd.h"
#include "e2b/last_events.h"
#include "request.h"
#include "server.h"
#include "stream.h"

#define WATCHERS_MAX 256u
#define OWN_MAX	     64u    /* of them of one sandbox */
#define EVENT_MAX    65536u /* with its entry */
#define REST_NS	     1000   /* after each byte, for each watcher: a byte costs a quarter of that */

struct watcher {
	struct sandbox_use use;
	struct watcher *next; /* of those that clients ask */
	char sandbox[SANDBOX_ID_SIZE];
	struct server *server;
	struct e2b *e2b;
	uint64_t id;
	struct mvm_exec *exec;
	struct loop_source *source, *timer;
	struct loop_source *rest; /* until it reads again; NULL: it may read */
	struct strbuf bytes, text;
	struct request *rq;    /* waits for the beginning; NULL: it has begun */
	struct stream *stream; /* NULL: clients ask */
	struct last_events events;
	int64_t keepalive_ms, quiet_since_ns;
	bool begun, ended, entries;
	bool unknown; /* the client that would ask has gone before it had the id */
};

static void on_exec(void *arg, uint32_t events);

static void let_go(struct watcher *w)
{
	w->ended = true;
	loop_source_free(w->source);
	loop_source_free(w->timer);
	loop_source_free(w->rest);
	w->source = w->timer = w->rest = NULL;
	sandbox_unuse(&w->use);
	mvm_exec_close(w->exec);
	w->exec = NULL;
}

static void free_watcher(struct watcher *w)
{
	struct watcher **at = &w->e2b->watchers;
	while (*at && *at != w)
		at = &(*at)->next;
	if (*at)
		*at = w->next;
	let_go(w);
	request_unref(w->rq);
	json_decref(w->events.list);
	strbuf_done(&w->bytes);
	strbuf_done(&w->text);
	free(w);
}

void watchers_free(struct e2b *e)
{
	while (e->watchers)
		free_watcher(e->watchers);
}

static void fail(struct watcher *w, struct mvm_error *err)
{
	if (err->code == -ENOTDIR)
		err->code = -EINVAL;
	if (w->stream) {
		if (err->code == -EHOSTDOWN || err->code == -EREMOTEIO)
			stream_abort(w->stream);
		else
			envd_end(w->stream, err);
		let_go(w);
	} else {
		struct request *rq = w->rq;
		w->rq = NULL;
		if (rq)
			request_fail(rq, err);
		request_unref(rq);
		free_watcher(w);
	}
}

static void on_drop(struct sandbox_use *use)
{
	struct mvm_error err = { 0 };
	mvm_error_set(&err, -EHOSTDOWN, "the sandbox has gone");
	fail((struct watcher *)use, &err);
}

static void on_gone(void *arg)
{
	struct mvm_error err = { 0 };
	mvm_error_set(&err, -ECANCELED, "the client has gone");
	fail(arg, &err);
}

/* It watches now. */
static void begin(struct watcher *w)
{
	char id[32];
	w->begun = true;
	w->quiet_since_ns = clock_now_ns();
	if (w->stream) {
		envd_send(w->stream, json_pack("{s:{}}", "start"));
		return;
	}
	w->unknown = request_gone(w->rq);
	if (w->unknown)
		return;
	struct request *rq = w->rq;
	w->rq = NULL;
	snprintf(id, sizeof(id), "w%llu", (unsigned long long)w->id);
	request_reply_json(rq, 200, json_pack("{s:s}", "watcherId", id));
	request_unref(rq);
}

static json_t *event_json(const char *word, const char *name)
{
	static const char *const words[][2] = {
		{ "create", "EVENT_TYPE_CREATE" }, { "write", "EVENT_TYPE_WRITE" },
		{ "remove", "EVENT_TYPE_REMOVE" }, { "rename", "EVENT_TYPE_RENAME" },
		{ "chmod", "EVENT_TYPE_CHMOD" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(words); i++) {
		if (strcmp(word, words[i][0]) == 0)
			return json_pack("{s:o, s:s}", "name", envd_text(name), "type",
					 words[i][1]);
	}
	return NULL;
}

/*
 * Pass an event on.
 *
 *   len    bytes of the event and its entry
 *   entry  NULL: it has none
 */
static void tell(struct watcher *w, const char *word, const char *name, size_t len, json_t *entry)
{
	if (!w->begun && strcmp(word, "ready") == 0) {
		begin(w);
		return;
	}
	json_t *event = event_json(word, name);
	if (!event)
		return; /* some were lost; there is no such event */
	if (entry)
		json_object_set(event, "entry", entry);
	w->quiet_since_ns = clock_now_ns();
	if (w->stream) {
		envd_send(w->stream, json_pack("{s:o}", "filesystem", event));
		return;
	}
	last_events_add(&w->events, event, len);
}

/* The entry after an event, or an empty string.  Returns how many bytes it has; 0: it is not whole;
 * -EPROTO. */
static ssize_t take_entry(const struct watcher *w, const char *data, json_t **ret)
{
	size_t left = w->bytes.len - (size_t)(data - w->bytes.data);
	if (!w->entries || left == 0)
		return 0;
	return data[0] ? guest_entry_json(data, left, ret) : 1;
}

/* Take the whole events that have come.  False: the guest sends something else. */
static bool take_events(struct watcher *w)
{
	size_t at = 0;
	while (!w->ended) {
		const char *word = w->bytes.data + at;
		size_t left = w->bytes.len - at;
		const char *end = left ? memchr(word, 0, left) : NULL;
		const char *name = end ? end + 1 : NULL;
		end = name ? memchr(name, 0, left - (size_t)(name - word)) : NULL;
		if (!end)
			break;
		json_t *entry = NULL;
		ssize_t n = take_entry(w, end + 1, &entry);
		if (n < 0)
			return false;
		if (n == 0 && w->entries)
			break;
		end += 1 + n;
		tell(w, word, name, (size_t)(end - word), entry);
		json_decref(entry);
		at = (size_t)(end - w->bytes.data);
	}
	strbuf_consume(&w->bytes, at);
	return w->bytes.len <= EVENT_MAX && !w->bytes.failed;
}

static bool may_read(const struct watcher *w)
{
	return !w->ended && !w->rest && (!w->stream || stream_room(w->stream) > 0);
}

static void on_rested(void *arg)
{
	struct watcher *w = arg;
	loop_source_free(w->rest);
	w->rest = NULL;
	on_exec(w, 0); /* the handle may hold items */
}

/* No reader makes the guest wait, and it may send events without end: so that others get their
 * turn, the watcher rests after these bytes. */
static void rest(struct watcher *w, size_t len)
{
	int64_t ns = (int64_t)len * REST_NS;
	if (w->stream || w->ended)
		return;
	for (const struct watcher *other = w->e2b->watchers->next; other; other = other->next)
		ns += (int64_t)len * REST_NS;
	loop_add_timer(w->server->loop, clock_now_ns() + ns, on_rested, w,
		       &w->rest); /* no memory: no rest */
}

static void watch(struct watcher *w)
{
	if (!may_read(w)) {
		loop_source_free(w->source);
		w->source = NULL;
		return;
	}
	uint32_t events = (uint32_t)mvm_exec_events(w->exec);
	struct mvm_error err = { 0 };
	int r = w->source ? loop_source_set_events(w->source, events)
			  : loop_add_fd(w->server->loop, mvm_exec_fd(w->exec), events, on_exec, w,
					&w->source);
	if (r < 0) {
		mvm_error_oom(&err);
		fail(w, &err);
	}
}

static void on_exec(void *arg, uint32_t events)
{
	struct watcher *w = arg;
	const struct mvm_exec_event *e;
	struct mvm_error err = { 0 };
	int r = MVM_STREAM_WAIT;

	(void)events;
	while (may_read(w) && (r = mvm_exec_read(w->exec, &e, &err)) == MVM_STREAM_ITEM) {
		if (e->kind == MVM_EXEC_STDERR && w->text.len < 1024)
			strbuf_add(&w->text, e->data, e->len);
		if (e->kind == MVM_EXEC_STDOUT) {
			strbuf_add(&w->bytes, e->data, e->len);
			if (!take_events(w))
				r = mvm_error_set(&err, -EPROTO, "the guest's events are damaged");
			if (w->unknown)
				r = mvm_error_set(&err, -ECANCELED, "the client has gone");
			rest(w, e->len);
		}
		if (e->kind == MVM_EXEC_EXITED)
			r = mvm_error_set(&err, e->status ? -e->status : -EIO, "%s",
					  w->text.data ? w->text.data : "the watch has ended");
		if (r < 0)
			break;
	}
	if (w->ended)
		return;
	if (r < 0)
		fail(w, &err);
	else
		watch(w);
}

static void on_room(void *arg)
{
	struct watcher *w = arg;
	if (!w->ended)
		on_exec(w, 0);
}

static void on_closed(void *arg)
{
	free_watcher(arg);
}

static void on_timer(void *arg)
{
	struct watcher *w = arg;
	int64_t now_ns = clock_now_ns();
	if (now_ns - w->quiet_since_ns >= w->keepalive_ms * NS_PER_MS) {
		w->quiet_since_ns = now_ns;
		envd_send(w->stream, json_pack("{s:{}}", "keepalive"));
	}
	loop_source_arm(w->timer, w->quiet_since_ns + w->keepalive_ms * NS_PER_MS);
}

/* Begin a watch for the request's message. */
static int start(struct request *rq, bool framed, const struct sandbox *s, struct watcher **ret,
		 struct mvm_error *err)
{
	struct mvm_exec_start_options options = MVM_EXEC_START_OPTIONS_INIT;
	struct envd_call *call = rq->own;
	int r = envd_take(rq, framed, err);
	if (r < 0)
		return r;
	const char *path = sandbox_text(call->json, "path");
	bool entries = json_is_true(json_object_get(call->json, "includeEntry"));
	bool anywhere = json_is_true(json_object_get(call->json, "allowNetworkMounts"));
	bool recursive = json_is_true(json_object_get(call->json, "recursive"));
	const char *command[] = { "watch",
				  path ? path : "",
				  recursive ? "recursive" : "",
				  entries ? "entries" : "",
				  anywhere ? "" : "local",
				  NULL };
	options.command = command;
	options.user = call->user;
	options.files = true;
	struct watcher *w = calloc(1, sizeof(*w));
	if (!w)
		return mvm_error_oom(err);
	w->server = rq->server;
	w->e2b = rq->server->e2b;
	w->keepalive_ms = envd_keepalive_ms(rq);
	w->entries = entries;
	r = mvm_exec_start(rq->server->mvm, s->id, &options, &w->exec, err);
	if (r < 0) {
		free(w);
		return r;
	}
	*ret = w;
	return 0;
}

int filesystem_watch(struct request *rq, struct mvm_error *err)
{
	static const struct stream_ops ops = { .room = on_room, .closed = on_closed };
	struct watcher *w = NULL;
	struct sandbox *s = NULL;
	int r = envd_sandbox(rq, false, &s, err);
	if (r == 0)
		r = start(rq, true, s, &w, err);
	if (r < 0)
		return r;
	w->quiet_since_ns = clock_now_ns();
	r = loop_add_timer(w->server->loop, clock_deadline_ns(w->keepalive_ms), on_timer, w,
			   &w->timer);
	r = r < 0 ? mvm_error_oom(err)
		  : stream_open(rq, 200, "application/connect+json", &ops, w, &w->stream, err);
	if (r < 0) {
		free_watcher(w);
		return r;
	}
	sandbox_use(s, &w->use, on_drop);
	watch(w);
	return 0;
}

/* The guest of one sandbox's user must not keep others from watching theirs. */
static int check_room(const struct e2b *e, const char *sandbox, struct mvm_error *err)
{
	unsigned n = 0, own = 0;
	for (const struct watcher *w = e->watchers; w; w = w->next) {
		n++;
		own += strcmp(w->sandbox, sandbox) == 0;
	}
	if (own >= OWN_MAX)
		return mvm_error_set(err, -EAGAIN, "the sandbox has %u watchers already", own);
	if (n >= WATCHERS_MAX)
		return mvm_error_set(err, -EAGAIN, "%u watchers are there already", n);
	return 0;
}

int filesystem_create_watcher(struct request *rq, struct mvm_error *err)
{
	struct watcher *w = NULL;
	struct sandbox *s = NULL;
	struct e2b *e = rq->server->e2b;
	int r = envd_sandbox(rq, false, &s, err);
	if (r == 0)
		r = check_room(e, s->id, err);
	if (r == 0)
		r = start(rq, false, s, &w, err);
	if (r < 0)
		return r;
	memcpy(w->sandbox, s->id, sizeof(w->sandbox));
	w->id = ++e->last_watcher;
	w->next = e->watchers;
	e->watchers = w;
	w->rq = request_ref(rq);
	request_on_gone(rq, on_gone, w);
	sandbox_use(s, &w->use, on_drop);
	watch(w);
	return 0;
}

/* The watcher that the message names, of this sandbox. */
static int find(struct request *rq, struct watcher **ret, struct mvm_error *err)
{
	struct envd_call *call = rq->own;
	struct sandbox *s = NULL;
	uint64_t id = 0;
	int r = envd_take(rq, false, err);
	if (r >= 0)
		r = envd_sandbox(rq, false, &s, err);
	if (r < 0)
		return r;
	const char *text = sandbox_text(call->json, "watcherId");
	if (text && text[0] == 'w')
		parse_u64(text + 1, 1, UINT64_MAX, &id); /* else none has it */
	for (struct sandbox_use *use = s->uses; use; use = use->next) {
		struct watcher *w = rq->server->e2b->watchers;
		while (w && &w->use != use)
			w = w->next;
		if (w && w->id == id) {
			*ret = w;
			return 0;
		}
	}
	return mvm_error_set(err, -ENOENT, "no watcher has this id");
}

int filesystem_watcher_events(struct request *rq, struct mvm_error *err)
{
	struct watcher *w = NULL;
	int r = find(rq, &w, err);
	if (r < 0)
		return r;
	request_reply_json(rq, 200, json_pack("{s:o}", "events", last_events_take(&w->events)));
	return 0;
}

int filesystem_remove_watcher(struct request *rq, struct mvm_error *err)
{
	struct watcher *w = NULL;
	int r = find(rq, &w, err);
	if (r < 0)
		return r;
	free_watcher(w);
	request_reply_json(rq, 200, json_object());
	return 0;
}
