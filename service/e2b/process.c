/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process.Process: commands, over mvm_exec.
 *
 * The table of processes is the agent's: its kept commands (mvm_exec_attach()).  So a command goes
 * on when its client goes, when mvmd ends, and when its sandbox is paused.  Each stream here is one
 * handle.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/parse.h"
#include "codec/base64.h"
#include "codec/json.h"
#include "e2b/envd.h"
#include "e2b/process.h"
#include "request.h"
#include "server.h"
#include "stream.h"

#define NOTE_MAX_BYTES 2048

/* ---- streams ---- */

struct run {
	struct sandbox_use use;
	struct server *server;
	struct mvm_exec *exec;
	struct stream *stream;
	struct loop_source *source, *timer;
	int64_t keepalive_ms, quiet_since_ns, deadline_ns;
	bool tty, started, ended;
};

static void on_exec(void *arg, uint32_t events);

static void watch(struct run *x)
{
	bool wanted = !x->ended && stream_room(x->stream) > 0;
	if (!wanted) {
		loop_source_free(x->source);
		x->source = NULL;
		return;
	}
	uint32_t events = (uint32_t)mvm_exec_events(x->exec);
	int r = x->source ? loop_source_set_events(x->source, events)
			  : loop_add_fd(x->server->loop, mvm_exec_fd(x->exec), events, on_exec, x,
					&x->source);
	if (r < 0)
		stream_abort(x->stream);
}

static void let_go(struct run *x)
{
	x->ended = true;
	loop_source_free(x->source);
	loop_source_free(x->timer);
	x->source = x->timer = NULL;
	sandbox_unuse(&x->use);
	mvm_exec_close(x->exec);
	x->exec = NULL;
}

static void on_closed(void *arg)
{
	let_go(arg);
	free(arg);
}

/* The sandbox goes: a stream without its end is what tells the package so. */
static void on_drop(struct sandbox_use *use)
{
	struct run *x = (struct run *)use;
	let_go(x);
	stream_abort(x->stream);
}

static void send(struct run *x, const char *kind, json_t *value)
{
	x->quiet_since_ns = clock_now_ns();
	envd_send(x->stream, json_pack("{s:{s:o}}", "event", kind, value));
}

static json_t *data_json(const struct run *x, const struct mvm_exec_event *e)
{
	AUTO_FREE char *text = base64_text(e->data, e->len);
	const char *name = e->kind == MVM_EXEC_STDERR ? "stderr" : "stdout";
	return text ? json_pack("{s:s}", x->tty ? "pty" : name, text) : NULL;
}

static json_t *end_json(const struct mvm_exec_event *e)
{
	char status[64];
	if (!e->signal) {
		snprintf(status, sizeof(status), "exit status %d", e->status);
		return json_pack("{s:i, s:b, s:s}", "exitCode", e->status, "exited", 1, "status",
				 status);
	}
	const char *name = strsignal(e->signal);
	snprintf(status, sizeof(status), "signal: %s", name ? name : "unknown");
	for (char *p = status; *p; p++)
		*p = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
	return json_pack("{s:i, s:b, s:s, s:s}", "exitCode", -1, "exited", 0, "status", status,
			 "error", status);
}

/* envd's codes for a command that does not start. */
static void say_why(struct mvm_error *err)
{
	if (err->code == -EINVAL && strstr(err->text, "user"))
		err->code = -EKEYREJECTED;
	else if (err->code == -EACCES ||
		 (err->code == -ENOENT && strstr(err->text, "is kept") == NULL))
		err->code = -EINVAL;
}

/* End the stream with a failure. */
static void fail(struct run *x, struct mvm_error *err)
{
	if (!x->started)
		say_why(err);
	if (err->code == -EREMOTEIO) { /* the VM has ended */
		let_go(x);
		stream_abort(x->stream);
		return;
	}
	envd_end(x->stream, err);
	let_go(x);
}

static void take(struct run *x, const struct mvm_exec_event *e)
{
	switch (e->kind) {
	case MVM_EXEC_STARTED:
		x->tty = e->tty;
		x->started = true;
		send(x, "start", json_pack("{s:I}", "pid", (json_int_t)e->pid));
		break;
	case MVM_EXEC_STDOUT:
	case MVM_EXEC_STDERR:
		send(x, "data", data_json(x, e));
		break;
	case MVM_EXEC_EXITED:
		send(x, "end", end_json(e));
		envd_end(x->stream, NULL);
		let_go(x);
		break;
	}
}

static void on_exec(void *arg, uint32_t events)
{
	struct run *x = arg;
	const struct mvm_exec_event *e;
	struct mvm_error err = { 0 };
	int r = MVM_STREAM_WAIT;

	(void)events;
	while (!x->ended && stream_room(x->stream) > 0 &&
	       (r = mvm_exec_read(x->exec, &e, &err)) == MVM_STREAM_ITEM)
		take(x, e);
	if (r < 0 && !x->ended)
		fail(x, &err);
	if (!x->ended)
		watch(x);
}

static void on_room(void *arg)
{
	struct run *x = arg;
	if (!x->ended)
		on_exec(x, 0); /* the handle may hold items */
}

static void on_timer(void *arg)
{
	struct run *x = arg;
	int64_t now_ns = clock_now_ns();
	if (now_ns >= x->deadline_ns) { /* the agent kills it at the same time */
		struct mvm_error err = { 0 };
		mvm_error_set(&err, -ETIMEDOUT, "the command did not end in time");
		fail(x, &err);
		return;
	}
	if (now_ns - x->quiet_since_ns >= x->keepalive_ms * NS_PER_MS)
		send(x, "keepalive", json_object());
	int64_t next_ns = x->quiet_since_ns + x->keepalive_ms * NS_PER_MS;
	loop_source_arm(x->timer, next_ns < x->deadline_ns ? next_ns : x->deadline_ns);
}

/* Stream what a handle gives; exec is taken over. */
static int follow(struct request *rq, struct sandbox *s, struct mvm_exec *exec, int64_t timeout_ms,
		  struct mvm_error *err)
{
	static const struct stream_ops ops = { .room = on_room, .closed = on_closed };
	struct run *x = calloc(1, sizeof(*x));
	int r = x ? 0 : mvm_error_oom(err);
	if (r == 0) {
		x->server = rq->server;
		x->exec = exec;
		x->keepalive_ms = envd_keepalive_ms(rq);
		x->quiet_since_ns = clock_now_ns();
		x->deadline_ns = timeout_ms ? clock_deadline_ns(timeout_ms) : DEADLINE_NONE;
		int64_t first_ns = clock_deadline_ns(x->keepalive_ms);
		r = loop_add_timer(rq->server->loop,
				   first_ns < x->deadline_ns ? first_ns : x->deadline_ns, on_timer,
				   x, &x->timer);
		if (r == 0)
			r = stream_open(rq, 200, "application/connect+json", &ops, x, &x->stream,
					err);
	}
	if (r < 0) {
		if (x)
			loop_source_free(x->timer);
		free(x);
		mvm_exec_close(exec);
		return err->code ? err->code : mvm_error_oom(err);
	}
	sandbox_use(s, &x->use, on_drop);
	watch(x);
	return 0;
}

/* ---- start and connect ---- */

/* What List says about it later, in what a note has room for. */
static char *note_of(const struct envd_call *call)
{
	json_t *process = json_deep_copy(json_object_get(call->json, "process"));
	json_t *o = json_pack("{s:o}", "config", process);
	json_t *tag = json_object_get(call->json, "tag");
	if (json_is_string(tag))
		json_object_set(o, "tag", tag);
	char *text = json_dumps(o, JSON_COMPACT);
	static const char *const large[] = { "envs", "args", "cwd", "cmd" };
	for (size_t i = 0; text && strlen(text) > NOTE_MAX_BYTES && i < MVM_ARRAY_SIZE(large);
	     i++) {
		free(text);
		json_object_del(process, large[i]);
		text = json_dumps(o, JSON_COMPACT);
	}
	json_decref(o);
	return text;
}

static int64_t timeout_of(struct request *rq)
{
	const char *text = request_header(rq, "Connect-Timeout-Ms");
	uint64_t ms = 0;
	if (text)
		parse_u64(text, 0, 365ull * 24 * 3600 * 1000, &ms); /* else there is none */
	return (int64_t)ms;
}

static int read_command(const json_t *process, struct strv *ret, struct mvm_error *err)
{
	const char *cmd = sandbox_text(process, "cmd");
	json_t *arg;
	size_t i;
	if (!cmd || !*cmd)
		return mvm_error_set(err, -EINVAL, "the call names no command");
	strv_add(ret, cmd);
	json_array_foreach(json_object_get(process, "args"), i, arg)
	{
		if (!json_is_string(arg))
			return mvm_error_set(err, -EINVAL, "an argument must be a text");
		strv_add(ret, json_string_value(arg));
	}
	return ret->failed ? mvm_error_oom(err) : 0;
}

uint16_t process_size(const json_t *pty, const char *key)
{
	json_int_t n = 0;
	json_whole(json_object_get(json_object_get(pty, "size"), key), &n);
	return n > 0 && n <= UINT16_MAX ? (uint16_t)n : 0;
}

int process_start(struct request *rq, struct mvm_error *err)
{
	struct mvm_exec_start_options options = MVM_EXEC_START_OPTIONS_INIT;
	struct envd_call *call = rq->own;
	AUTO_DONE(strv) command = { 0 };
	AUTO_DONE(strv) env = { 0 };
	struct sandbox *s = NULL;
	struct mvm_exec *exec = NULL;

	int r = envd_take(rq, true, err);
	if (r == 0)
		r = envd_sandbox(rq, false, &s, err);
	const json_t *process = json_object_get(call->json, "process");
	const json_t *pty = json_object_get(call->json, "pty");
	if (r == 0)
		r = read_command(process, &command, err);
	if (r < 0)
		return r;
	envd_variables(s, json_object_get(process, "envs"), call->user, &env);
	AUTO_FREE char *note = note_of(call);
	if (env.failed || !note)
		return mvm_error_oom(err);
	const char *cwd = sandbox_text(process, "cwd");
	options.command = (const char *const *)command.v;
	options.env = (const char *const *)env.v;
	options.workdir = cwd && *cwd ? cwd : "~";
	options.user = call->user;
	options.keep = true;
	options.note = note;
	options.input = !json_is_false(json_object_get(call->json, "stdin"));
	options.tty = json_is_object(pty);
	options.rows = process_size(pty, "rows");
	options.columns = process_size(pty, "cols");
	options.timeout_ms = timeout_of(rq);
	r = mvm_exec_start(rq->server->mvm, s->id, &options, &exec, err);
	return r < 0 ? r : follow(rq, s, exec, options.timeout_ms, err);
}

int process_pid(const json_t *message, int64_t *ret, struct mvm_error *err)
{
	const json_t *selector = json_object_get(message, "process");
	json_int_t pid = 0;
	if (!json_whole(json_object_get(selector, "pid"), &pid))
		return mvm_error_set(err, -EINVAL, "mvm finds processes by their pid alone");
	*ret = pid;
	return *ret > 0 ? 0 : mvm_error_set(err, -ENOENT, "no process has this pid");
}

int process_connect(struct request *rq, struct mvm_error *err)
{
	struct envd_call *call = rq->own;
	struct mvm_exec *exec = NULL;
	struct sandbox *s = NULL;
	int64_t pid = 0;
	int r = envd_take(rq, true, err);
	if (r == 0)
		r = envd_sandbox(rq, false, &s, err);
	if (r == 0)
		r = process_pid(call->json, &pid, err);
	if (r == 0)
		r = mvm_exec_attach(rq->server->mvm, s->id, pid, &exec, err);
	return r < 0 ? r : follow(rq, s, exec, 0, err);
}

/* ---- list ---- */

static int add_process(void *arg, int64_t pid, const char *note)
{
	json_t *o = json_loads(note, 0, NULL); /* a guest's text: it may be anything */
	if (!json_is_object(json_object_get(o, "config"))) {
		json_decref(o);
		o = json_pack("{s:{}}", "config");
	}
	json_t *config = json_object_get(o, "config");
	if (!json_is_string(json_object_get(config, "cmd")))
		json_object_set_new(config, "cmd", json_string(""));
	json_object_set_new(o, "pid", json_integer(pid));
	return json_array_append_new(arg, o) < 0 ? -ENOMEM : 0;
}

static int list(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	const struct envd_call *call = rq->own;
	json_t *all = json_array();
	int r = mvm_exec_list(mvm, sandbox_text(call->json, "id"), rq->progress, add_process, all,
			      err);
	if (r < 0) {
		json_decref(all);
		return r;
	}
	return request_answer(rq, 200, json_pack("{s:o}", "processes", all), err);
}

int process_list(struct request *rq, struct mvm_error *err)
{
	struct envd_call *call = rq->own;
	struct sandbox *s;
	int r = envd_sandbox(rq, false, &s, err);
	if (r < 0)
		return r;
	call->json = json_pack("{s:s}", "id", s->id);
	if (rq->owner && !*rq->owner) /* guests that are silent cost themselves alone */
		rq->owner = sandbox_text(call->json, "id");
	return request_work(rq, WORK_GUEST, list, err);
}
