/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process.Process: calls that only tell a process something.  Each attaches to it for that moment.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "codec/base64.h"
#include "codec/json.h"
#include "e2b/envd.h"
#include "e2b/process.h"
#include "request.h"
#include "server.h"

struct poke {
	struct sandbox_use use;
	struct request *rq;
	struct mvm_exec *exec;
	struct loop_source *source;
	struct strbuf input; /* to be written */
	size_t written;
	bool started, killed, close_stdin, framed, done;
	int signal;
	uint16_t rows, columns;
};

static void poke_end(struct poke *x, const struct mvm_error *err)
{
	if (x->done)
		return;
	x->done = true;
	loop_source_free(x->source);
	sandbox_unuse(&x->use);
	mvm_exec_close(x->exec);
	if (err) {
		request_fail(x->rq, err);
	} else if (x->framed) {
		static const char reply[] = "\0\0\0\0\2{}\2\0\0\0\2{}";
		request_reply_text(x->rq, 200, "application/connect+json", reply,
				   sizeof(reply) - 1);
	} else {
		request_reply_json(x->rq, 200, json_object());
	}
	request_unref(x->rq);
	strbuf_done(&x->input);
	free(x);
}

static void on_poke_drop(struct sandbox_use *use)
{
	struct mvm_error err = { 0 };
	mvm_error_set(&err, -EHOSTDOWN, "the sandbox has gone");
	poke_end((struct poke *)use, &err);
}

static void on_poke_gone(void *arg)
{
	struct mvm_error err = { 0 };
	mvm_error_set(&err, -ECANCELED, "the client has gone");
	poke_end(arg, &err);
}

/* Returns 0 once all is said and sent, 1 to go on, or -errno. */
static int poke_tell(struct poke *x, struct mvm_error *err)
{
	if (x->signal) {
		int r = mvm_exec_signal(x->exec, x->signal, err);
		x->killed = x->signal == SIGKILL;
		x->signal = 0;
		if (r < 0)
			return r;
	}
	if (x->rows && x->columns) {
		int r = mvm_exec_resize(x->exec, x->rows, x->columns, err);
		x->rows = 0;
		if (r < 0)
			return r;
	}
	while (x->written < x->input.len) {
		int n = mvm_exec_write(x->exec, x->input.data + x->written,
				       x->input.len - x->written, err);
		if (n < 0)
			return n;
		if (n == 0)
			return 1;
		x->written += (size_t)n;
	}
	if (x->close_stdin) {
		int r = mvm_exec_close_stdin(x->exec, err);
		if (r < 0)
			return r;
		x->close_stdin = false;
	}
	return x->killed || mvm_exec_events(x->exec) & POLLOUT ? 1 : 0;
}

static void on_poke(void *arg, uint32_t events)
{
	struct poke *x = arg;
	const struct mvm_exec_event *e;
	struct mvm_error err = { 0 };
	bool over = false, gone = false, deaf = false;
	int r;

	(void)events;
	while ((r = mvm_exec_read(x->exec, &e, &err)) == MVM_STREAM_ITEM) {
		x->started |= e->kind == MVM_EXEC_STARTED;
		deaf |= e->kind == MVM_EXEC_STARTED && e->input_ended;
		gone |= e->ended;
		over |= e->kind == MVM_EXEC_EXITED;
	}
	if (over && x->killed && !gone) { /* as asked for: who asks again finds nothing */
		poke_end(x, NULL);
		return;
	}
	if (gone || over || r == MVM_STREAM_END) {
		mvm_error_set(&err, -ENOENT, "the process has ended");
		poke_end(x, &err);
		return;
	}
	if (deaf && x->input.len > 0)
		r = mvm_error_set(&err, -EPIPE, "the process' input has ended");
	if (r >= 0)
		r = x->started ? poke_tell(x, &err) : 1;
	if (r < 0)
		poke_end(x, &err);
	else if (r == 0)
		poke_end(x, NULL);
	else if (loop_source_set_events(x->source, (uint32_t)mvm_exec_events(x->exec)) < 0)
		poke_end(x, mvm_error_oom(&err) < 0 ? &err : NULL);
}

/* Begin: attach to the process, then say what `what` has.  Takes over what->input. */
static int poke(struct request *rq, const struct poke *what, struct mvm_error *err)
{
	const struct envd_call *call = rq->own;
	struct sandbox *s = NULL;
	int64_t pid = 0;
	struct poke *x = calloc(1, sizeof(*x));
	int r = x ? envd_sandbox(rq, false, &s, err) : mvm_error_oom(err);
	if (r == 0)
		r = process_pid(call->json, &pid, err);
	if (r == 0) {
		*x = *what;
		r = mvm_exec_attach(rq->server->mvm, s->id, pid, &x->exec, err);
	}
	if (r == 0 && loop_add_fd(rq->server->loop, mvm_exec_fd(x->exec),
				  (uint32_t)mvm_exec_events(x->exec), on_poke, x, &x->source) < 0)
		r = mvm_error_oom(err);
	if (r < 0) {
		if (x)
			mvm_exec_close(x->exec);
		free(x);
		return r;
	}
	x->rq = request_ref(rq);
	request_on_gone(rq, on_poke_gone, x);
	sandbox_use(s, &x->use, on_poke_drop);
	return 0;
}

int process_update(struct request *rq, struct mvm_error *err)
{
	struct poke what = { 0 };
	struct envd_call *call = rq->own;
	int r = envd_take(rq, false, err);
	if (r < 0)
		return r;
	const json_t *pty = json_object_get(call->json, "pty");
	what.rows = process_size(pty, "rows");
	what.columns = process_size(pty, "cols");
	return poke(rq, &what, err);
}

int process_send_signal(struct request *rq, struct mvm_error *err)
{
	struct poke what = { 0 };
	struct envd_call *call = rq->own;
	int r = envd_take(rq, false, err);
	if (r < 0)
		return r;
	const json_t *v = json_object_get(call->json, "signal");
	const char *name = json_is_string(v) ? json_string_value(v) : "";
	json_int_t n = json_integer_value(v);
	if (n == SIGKILL || strcmp(name, "SIGNAL_SIGKILL") == 0)
		what.signal = SIGKILL;
	else if (n == SIGTERM || strcmp(name, "SIGNAL_SIGTERM") == 0)
		what.signal = SIGTERM;
	else
		return mvm_error_set(err, -EOPNOTSUPP, "only SIGTERM and SIGKILL can be sent");
	return poke(rq, &what, err);
}

int process_close_stdin(struct request *rq, struct mvm_error *err)
{
	struct poke what = { .close_stdin = true };
	int r = envd_take(rq, false, err);
	return r < 0 ? r : poke(rq, &what, err);
}

/* Add the bytes of {"input": {"stdin" | "pty": base64}}. */
static int add_input(const json_t *message, struct strbuf *ret, struct mvm_error *err)
{
	const json_t *input = json_object_get(message, "input");
	const char *text = sandbox_text(input, "stdin");
	uint8_t *bytes = NULL;
	size_t len = 0;
	text = text ? text : sandbox_text(input, "pty");
	if (!text)
		return 0;
	if (base64_bytes(text, strlen(text), &bytes, &len) < 0)
		return mvm_error_set(err, -EINVAL, "the input is no base64");
	strbuf_add(ret, bytes, len);
	free(bytes);
	return ret->failed ? mvm_error_oom(err) : 0;
}

int process_send_input(struct request *rq, struct mvm_error *err)
{
	struct poke what = { 0 };
	struct envd_call *call = rq->own;
	int r = envd_take(rq, false, err);
	if (r == 0)
		r = add_input(call->json, &what.input, err);
	if (r == 0)
		r = poke(rq, &what, err);
	if (r < 0)
		strbuf_done(&what.input);
	return r;
}

/* The messages after the first one: {"data": {"input": …}}.  The whole body has come. */
int process_stream_input(struct request *rq, struct mvm_error *err)
{
	struct poke what = { .framed = true };
	struct envd_call *call = rq->own;
	const char *at = call->body.data, *end = at + call->body.len;
	json_t *start = NULL;
	int r = 0;

	while (r == 0 && end - at >= 5) {
		const uint8_t *b = (const uint8_t *)at + 1;
		size_t len = (size_t)b[0] << 24 | (size_t)b[1] << 16 | (size_t)b[2] << 8 | b[3];
		if (len > (size_t)(end - at) - 5 || at[0] & 1) {
			r = mvm_error_set(err, -EINVAL, "a message is not whole");
			break;
		}
		json_t *message = json_loadb(at + 5, len, 0, NULL);
		if (!start && json_object_get(message, "start"))
			start = json_incref(json_object_get(message, "start"));
		r = add_input(json_object_get(message, "data"), &what.input, err);
		json_decref(message);
		at += 5 + len;
	}
	call->json = start;
	if (r == 0)
		r = poke(rq, &what, err);
	if (r < 0)
		strbuf_done(&what.input);
	return r;
}
