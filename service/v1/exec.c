/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands in instances.  A client that follows one gets its output as lines of JSON or by a
 * WebSocket; one that does not gets status and output once it has ended.  A command ends with its
 * request unless it is kept: then the agent has it, and any number of clients may come and go.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "codec/json.h"
#include "server.h"
#include "stream.h"
#include "v1/bytes.h"
#include "v1/exec.h"
#include "v1/routes.h"

#define GATHER_MAX ((size_t)1024 * 1024) /* of each output, in an answer */

/* A command that a request follows.  The request's own data. */
struct run {
	struct request *rq;
	struct guest *guest;
	struct stream *stream;
	bool follow, base64;
	char *input; /* all of its input */
	size_t input_len, input_done;
	struct strbuf out[2];
	struct bytes_tail tail[2];
	bool truncated;
};

static void free_run(void *own)
{
	struct run *x = own;
	guest_close(x->guest);
	strbuf_done(&x->out[0]);
	strbuf_done(&x->out[1]);
	free(x->input);
	free(x);
}

static void on_room(void *arg)
{
	struct run *x = arg;
	guest_resume(x->guest);
}

static void on_closed(void *arg)
{
	struct run *x = arg;
	guest_close(x->guest);
	x->guest = NULL;
	x->stream = NULL;
}

static const struct stream_ops stream_ops = { .room = on_room, .closed = on_closed };

/* Give the command its input, as far as it takes it. */
static void feed(void *arg)
{
	struct run *x = arg;
	if (!x->input)
		return;
	int n = guest_write(x->guest, x->input + x->input_done, x->input_len - x->input_done, NULL);
	if (n > 0)
		x->input_done += (size_t)n;
	if (n >= 0 && x->input_done < x->input_len)
		return;
	guest_end_input(x->guest,
			NULL); /* -EAGAIN: it has its bytes, and its end comes by the close */
	free(x->input);
	x->input = NULL;
}

static void line(struct run *x, json_t *value)
{
	if (!x->stream) {
		json_decref(value);
		return;
	}
	stream_write_json(x->stream, value);
	if (stream_room(x->stream) == 0)
		guest_pause(x->guest);
}

static void put_output(struct run *x, int i, const void *data, size_t len)
{
	json_t *text = x->base64 ? bytes_base64(data, len)
				 : bytes_text_part(&x->tail[i], data, len);
	if (text && json_string_length(text) > 0)
		line(x, json_pack("{s:s, s:o}", "event", i ? "stderr" : "stdout", "data", text));
	else
		json_decref(text);
}

static void gather(struct run *x, int i, const void *data, size_t len)
{
	size_t room = GATHER_MAX - x->out[i].len;
	x->truncated |= len > room;
	strbuf_add(&x->out[i], data, len < room ? len : room);
}

static void begin(struct run *x, const struct mvm_exec_event *event)
{
	struct mvm_error err = { 0 };
	if (!x->follow)
		return;
	if (stream_open(x->rq, 200, "application/x-ndjson", &stream_ops, x, &x->stream, &err) < 0)
		request_fail(x->rq, &err);
	line(x, exec_started_json(event));
}

static json_t *gathered(const struct run *x, int i)
{
	const char *data = x->out[i].data ? x->out[i].data : "";
	return x->base64 ? bytes_base64(data, x->out[i].len) : bytes_text(data, x->out[i].len);
}

static void end(struct run *x, const struct mvm_exec_event *event)
{
	if (x->stream) {
		for (int i = 0; i < 2 && !x->base64; i++) {
			json_t *rest = bytes_text_end(&x->tail[i]);
			if (rest)
				line(x, json_pack("{s:s, s:o}", "event", i ? "stderr" : "stdout",
						  "data", rest));
		}
		line(x, exec_exited_json(event));
		stream_end(x->stream);
		return;
	}
	request_reply(x->rq, 200,
		      json_pack("{s:I, s:i, s:i, s:o, s:o, s:b}", "pid", (json_int_t)event->pid,
				"status", event->status, "signal", event->signal, "stdout",
				gathered(x, 0), "stderr", gathered(x, 1), "truncated",
				x->truncated));
}

static void on_event(void *arg, const struct mvm_exec_event *event)
{
	struct run *x = arg;
	int i = event->kind == MVM_EXEC_STDERR;
	switch (event->kind) {
	case MVM_EXEC_STARTED:
		begin(x, event);
		break;
	case MVM_EXEC_STDOUT:
	case MVM_EXEC_STDERR:
		if (x->follow)
			put_output(x, i, event->data, event->len);
		else
			gather(x, i, event->data, event->len);
		break;
	case MVM_EXEC_EXITED:
		end(x, event);
		break;
	}
}

static void on_failed(void *arg, const struct mvm_error *err)
{
	struct run *x = arg;
	if (!x->stream) {
		request_fail(x->rq, err);
		return;
	}
	line(x, exec_error_json(err));
	stream_end(x->stream);
}

static const struct guest_ops guest_ops = { .event = on_event, .failed = on_failed, .room = feed };

/* Follow a command for a request.  exec is taken over, also when this fails. */
static int follow(struct request *rq, struct mvm_exec *exec, struct run *x, struct mvm_error *err)
{
	const char *encoding = request_query(rq, "encoding");
	x->rq = rq;
	x->base64 = encoding && strcmp(encoding, "base64") == 0;
	int r = guest_new(rq->server->loop, exec, &guest_ops, x, &x->guest, err);
	if (r < 0) {
		free_run(x);
		return r;
	}
	rq->own = x;
	rq->own_free = free_run;
	return 0;
}

static int check_encoding(const struct request *rq, struct mvm_error *err)
{
	const char *encoding = request_query(rq, "encoding");
	if (!encoding || strcmp(encoding, "text") == 0 || strcmp(encoding, "base64") == 0)
		return 0;
	return mvm_error_set(err, -EINVAL, "encoding is 'text' or 'base64'");
}

static bool wants_lines(const struct request *rq)
{
	const char *accept = request_header(rq, "Accept");
	return accept && strcasestr(accept, "application/x-ndjson");
}

static int run(struct request *rq, struct mvm_error *err)
{
	AUTO_DONE(exec_spec) spec = { 0 };
	struct mvm_exec *exec = NULL;
	bool stream = wants_lines(rq);

	int r = exec_spec_from_body(rq, &spec, err);
	if (r >= 0)
		r = request_query_bool(rq, "stream", &stream, err);
	if (r >= 0)
		r = check_encoding(rq, err);
	if (r < 0)
		return r;
	AUTO_FREE struct run *x = calloc(1, sizeof(*x));
	if (!x)
		return mvm_error_oom(err);
	r = mvm_exec_start(rq->server->mvm, request_arg(rq, 0), &spec.options, &exec, err);
	if (r < 0)
		return r;
	x->follow = stream;
	x->input = TAKE_PTR(spec.input);
	x->input_len = x->input ? strlen(x->input) : 0;
	return follow(rq, exec, TAKE_PTR(x), err);
}

static int run_socket(struct request *rq, struct mvm_error *err)
{
	AUTO_DONE(exec_spec) spec = { 0 };
	struct mvm_exec *exec = NULL;

	if (!exec_wants_socket(rq))
		return mvm_error_set(err, -EINVAL, "GET takes a WebSocket here; POST takes JSON");
	int r = exec_spec_from_query(rq, &spec, err);
	if (r == 0)
		r = mvm_exec_start(rq->server->mvm, request_arg(rq, 0), &spec.options, &exec, err);
	return r < 0 ? r : exec_socket_open(rq, exec, err);
}

static int attach(struct request *rq, struct mvm_error *err)
{
	struct mvm_exec *exec = NULL;
	int64_t pid = 0;

	int r = exec_pid(rq, &pid, err);
	if (r == 0)
		r = check_encoding(rq, err);
	if (r == 0)
		r = mvm_exec_attach(rq->server->mvm, request_arg(rq, 0), pid, &exec, err);
	if (r < 0)
		return r;
	if (exec_wants_socket(rq))
		return exec_socket_open(rq, exec, err);
	struct run *x = calloc(1, sizeof(*x));
	if (!x) {
		mvm_exec_close(exec);
		return mvm_error_oom(err);
	}
	x->follow = true;
	return follow(rq, exec, x, err);
}

static int add_kept(void *arg, int64_t pid, const char *note)
{
	json_t *list = arg;
	(void)note; /* of whoever started it */
	return json_array_append_new(list, json_pack("{s:I}", "pid", (json_int_t)pid)) < 0 ? -ENOMEM
											   : 0;
}

static int list(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	json_t *o = json_array();
	int r = mvm_exec_list(mvm, request_arg(rq, 0), rq->progress, add_kept, o, err);
	if (r < 0) {
		json_decref(o);
		return r;
	}
	return request_answer(rq, 200, o, err);
}

const struct route v1_exec_routes[] = {
	{ .method = "POST",
	  .pattern = "/v1/instances/{name}/exec",
	  .scope = SCOPE_EXEC,
	  .handle = run,
	  .body = true,
	  .needs_body = true,
	  .body_max = (size_t)4 * 1024 * 1024 },
	{ .method = "GET",
	  .pattern = "/v1/instances/{name}/exec",
	  .scope = SCOPE_EXEC,
	  .handle = run_socket },
	{ .method = "GET",
	  .pattern = "/v1/instances/{name}/execs",
	  .scope = SCOPE_EXEC,
	  .work = list,
	  .class = WORK_GUEST },
	{ .method = "GET",
	  .pattern = "/v1/instances/{name}/execs/{pid}",
	  .scope = SCOPE_EXEC,
	  .handle = attach },
	{ 0 },
};
