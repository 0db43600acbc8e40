/* SPDX-License-Identifier: Apache-2.0 */
/* What a client that does not follow a kept command does to it: input, a signal, a new size. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "codec/json.h"
#include "server.h"
#include "v1/exec.h"
#include "v1/routes.h"

/* A hold on a command for one thing.  The request's own data. */
struct poke {
	struct request *rq;
	struct guest *guest;
	bool started;
	bool waits; /* the upload was cut short: more when there is room */
	bool all;   /* all is said: reply once it was sent */
	bool ends;  /* the input ends then */
	bool wrote; /* input */
	bool deaf;  /* the command takes no input */
	bool replied;
	int number; /* of a signal; 0: none */
	uint16_t rows, columns;
};

static void free_poke(void *own)
{
	struct poke *p = own;
	guest_close(p->guest);
	free(p);
}

static void fail(struct poke *p, const struct mvm_error *err)
{
	if (!p->replied)
		request_fail(p->rq, err);
	p->replied = true;
}

static int act(struct poke *p, struct mvm_error *err)
{
	int r = 0;
	if (p->number)
		r = mvm_exec_signal(guest_exec(p->guest), p->number, err);
	if (r == 0 && p->rows)
		r = mvm_exec_resize(guest_exec(p->guest), p->rows, p->columns, err);
	if (r == 0 && p->ends)
		r = guest_end_input(p->guest, err);
	if (r == -EAGAIN)
		return 1; /* again when there is room */
	p->number = p->rows = p->ends = 0;
	guest_wrote(p->guest);
	return r;
}

/* Go on when the guest has room. */
static void go_on(void *arg)
{
	struct poke *p = arg;
	struct mvm_error err = { 0 };

	if (p->waits) {
		p->waits = false;
		request_more(p->rq);
	}
	if (!p->all || !p->started || p->replied)
		return;
	int r = p->wrote && p->deaf ? mvm_error_set(&err, -EPIPE, "the command's input has ended")
				    : act(p, &err);
	if (r < 0) {
		fail(p, &err);
	} else if (r == 0 && !(mvm_exec_events(guest_exec(p->guest)) & POLLOUT)) {
		p->replied = true;
		request_reply(p->rq, 200, json_object());
	}
}

static void on_event(void *arg, const struct mvm_exec_event *event)
{
	struct poke *p = arg;
	struct mvm_error err = { 0 };
	if (event->kind == MVM_EXEC_STARTED && !event->ended) {
		p->started = true;
		p->deaf = event->input_ended;
	} else if (event->ended || event->kind == MVM_EXEC_EXITED) {
		mvm_error_set(&err, -ESRCH, "the command has ended");
		fail(p, &err);
		if (p->waits)
			request_more(p->rq);
	}
}

static void on_failed(void *arg, const struct mvm_error *err)
{
	struct poke *p = arg;
	fail(p, err);
	if (p->waits)
		request_more(p->rq);
}

static const struct guest_ops guest_ops = { .event = on_event, .failed = on_failed, .room = go_on };

/* Take hold of the request's command. */
static int hold(struct request *rq, struct poke **ret, struct mvm_error *err)
{
	AUTO_FREE struct poke *p = calloc(1, sizeof(*p));
	struct mvm_exec *exec = NULL;
	int64_t pid = 0;

	if (!p)
		return mvm_error_oom(err);
	int r = exec_pid(rq, &pid, err);
	if (r == 0)
		r = mvm_exec_attach(rq->server->mvm, request_arg(rq, 0), pid, &exec, err);
	if (r == 0)
		r = guest_new(rq->server->loop, exec, &guest_ops, p, &p->guest, err);
	if (r < 0)
		return r;
	p->rq = rq;
	rq->own = *ret = TAKE_PTR(p);
	rq->own_free = free_poke;
	return 0;
}

static int stdin_begin(struct request *rq, struct mvm_error *err)
{
	bool ends = true;
	struct poke *p;
	int r = request_query_bool(rq, "end", &ends, err);
	if (r == 0)
		r = hold(rq, &p, err);
	if (r == 0)
		p->ends = ends;
	return r;
}

static int stdin_upload(struct request *rq, const char *data, size_t *len, struct mvm_error *err)
{
	struct poke *p = rq->own;
	int n = guest_write(p->guest, data, *len, err);
	if (n < 0)
		return n;
	p->waits = (size_t)n < *len;
	p->wrote |= n > 0;
	*len = (size_t)n;
	return 0;
}

static int stdin_end(struct request *rq, struct mvm_error *err)
{
	struct poke *p = rq->own;
	(void)err;
	p->all = true;
	go_on(p);
	return 0;
}

static int send_signal(struct request *rq, struct mvm_error *err)
{
	static const char *const known[] = { "signal" };
	AUTO_FREE char *name = NULL;
	struct poke *p;
	int number = 0;

	int r = request_only(&rq->body, known, 1, err);
	if (r < 0)
		return r;
	r = json_get_string(&rq->body, "signal", JSON_REQUIRED, &name, err);
	if (r < 0)
		return request_bad_body(r, err);
	r = exec_signal_number(name, &number, err);
	if (r >= 0)
		r = hold(rq, &p, err);
	if (r < 0)
		return r;
	p->number = number;
	p->all = true;
	return 0;
}

static int resize(struct request *rq, struct mvm_error *err)
{
	static const char *const known[] = { "rows", "columns" };
	uint64_t rows = 0, columns = 0;
	struct poke *p;

	int r = request_only(&rq->body, known, 2, err);
	if (r < 0)
		return r;
	r = json_get_u64(&rq->body, "rows", 1, UINT16_MAX, JSON_REQUIRED, &rows, err);
	if (r >= 0)
		r = json_get_u64(&rq->body, "columns", 1, UINT16_MAX, JSON_REQUIRED, &columns, err);
	if (r < 0)
		return request_bad_body(r, err);
	r = hold(rq, &p, err);
	if (r < 0)
		return r;
	p->rows = (uint16_t)rows;
	p->columns = (uint16_t)columns;
	p->all = true;
	return 0;
}

const struct route v1_exec_input_routes[] = {
	{ .method = "POST",
	  .pattern = "/v1/instances/{name}/execs/{pid}/stdin",
	  .scope = SCOPE_EXEC,
	  .begin = stdin_begin,
	  .upload = stdin_upload,
	  .handle = stdin_end },
	{ .method = "POST",
	  .pattern = "/v1/instances/{name}/execs/{pid}/signal",
	  .scope = SCOPE_EXEC,
	  .handle = send_signal,
	  .body = true,
	  .needs_body = true },
	{ .method = "POST",
	  .pattern = "/v1/instances/{name}/execs/{pid}/resize",
	  .scope = SCOPE_EXEC,
	  .handle = resize,
	  .body = true,
	  .needs_body = true },
	{ 0 },
};
