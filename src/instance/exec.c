/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/exec.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "base/extend.h"
#include "instance/flow.h"
#include "net/wire.h"

/* Limit on bytes that wait for the supervisor: a piece of input, credits, and room for signals. */
#define OUT_MAX	   ((size_t)2 * FRAME_PAYLOAD_MAX)
#define SIGNAL_MAX 64

struct mvm_exec {
	struct mvm_instance *instance; /* its connection serves only this command */
	struct flow flow;
	struct mvm_exec_event event; /* the last event that was read */
	bool input_open;
	bool told_end; /* the last event, or an error, has told the caller of the end */
	int64_t deadline_ns;
	struct mvm_error error; /* code 0: none; else every read returns it */
};

void exec_put_command(struct strbuf *args, const char *const *command, const char *const *env,
		      const char *workdir, const char *user)
{
	for (; command && *command; command++)
		wire_put_str(args, FIELD_ARG, *command);
	for (; env && *env; env++)
		wire_put_str(args, FIELD_ENV, *env);
	if (workdir && workdir[0])
		wire_put_str(args, FIELD_WORKDIR, workdir);
	if (user && user[0]) /* an agent takes "" for root */
		wire_put_str(args, FIELD_USER, user);
}

static void put_options(struct strbuf *args, const struct mvm_exec_start_options *o)
{
	exec_put_command(args, o->command, o->env, o->workdir, o->user);
	wire_put_u64(args, FIELD_STDIN, o->input);
	if (o->keep) {
		uint64_t max_ms = UINT64_C(24) * 3600 * 1000;
		wire_put_str(args, FIELD_NOTE, o->note);
		if (o->timeout_ms)
			wire_put_u64(args, FIELD_TIMEOUT_MS,
				     (uint64_t)o->timeout_ms < max_ms ? (uint64_t)o->timeout_ms
								      : max_ms);
	}
	if (!o->tty)
		return;
	wire_put_u64(args, FIELD_TTY, 1);
	if (o->rows && o->columns) {
		wire_put_u64(args, FIELD_ROWS, o->rows);
		wire_put_u64(args, FIELD_COLUMNS, o->columns);
	}
}

static int take_options(const struct mvm_exec_start_options *options,
			struct mvm_exec_start_options *ret, struct mvm_error *err)
{
	size_t first = STRUCT_END(struct mvm_exec_start_options, timeout_ms);
	int r = mvm_struct_take(ret, sizeof(*ret), first, options, err);
	if (r < 0)
		return r;
	if (!ret->command || !ret->command[0])
		return mvm_error_set(err, -EINVAL, "no command was given");
	if (ret->timeout_ms < 0)
		return mvm_error_set(err, -EINVAL, "a timeout cannot be negative");
	if (ret->files && (ret->keep || ret->tty))
		return mvm_error_set(err, -EINVAL,
				     "files are not for a kept command or a terminal");
	if (ret->note && strlen(ret->note) > NOTE_MAX)
		return mvm_error_set(err, -EINVAL, "the note is longer than %u bytes", NOTE_MAX);
	return 0;
}

/* A handle that makes no call yet.  instance is taken over. */
static int exec_new(struct mvm_instance *instance, struct mvm_exec **ret, struct mvm_error *err)
{
	struct mvm_exec *e = calloc(1, sizeof(*e));
	if (!e) {
		instance_close(instance);
		return mvm_error_oom(err);
	}
	e->instance = instance;
	e->deadline_ns = DEADLINE_NONE;
	instance->control.channel.out_limit = OUT_MAX;
	*ret = e;
	return 0;
}

int exec_stream(struct mvm_instance *instance, unsigned call, const struct strbuf *args, bool input,
		struct mvm_exec **ret, struct mvm_error *err)
{
	struct mvm_exec *e = NULL;

	int r = exec_new(instance, &e, err);
	if (r < 0)
		return r;
	e->input_open = input;
	r = flow_begin(&e->flow, &instance->control, call, args, err);
	if (r < 0) {
		mvm_exec_close(e);
		return r;
	}
	*ret = e;
	return 0;
}

static unsigned call_of(const struct mvm_exec_start_options *o)
{
	if (o->keep)
		return CALL_KEPT_START;
	return o->files ? CALL_FILES : CALL_EXEC;
}

int exec_start(struct mvm_instance *instance, const struct mvm_exec_start_options *options,
	       struct mvm_exec **ret, struct mvm_error *err)
{
	AUTO_DONE(strbuf) args = { 0 };
	struct mvm_exec_start_options o;
	struct mvm_exec *e = NULL;

	int r = exec_new(instance, &e, err);
	if (r < 0)
		return r;
	r = take_options(options, &o, err);
	if (r == 0) {
		e->input_open = o.input || (o.keep && o.tty);
		if (o.timeout_ms && !o.keep) /* else the agent's */
			e->deadline_ns = clock_deadline_ns(o.timeout_ms);
		put_options(&args, &o);
		r = flow_begin(&e->flow, &instance->control, call_of(&o), &args, err);
	}
	if (r < 0) {
		mvm_exec_close(e);
		return r;
	}
	*ret = e;
	return 0;
}

static struct channel *channel_of(const struct mvm_exec *e)
{
	return &e->instance->control.channel;
}

static bool is_over(const struct mvm_exec *e)
{
	return e->flow.ended || e->error.code;
}

int mvm_exec_fd(const struct mvm_exec *e)
{
	return channel_of(e)->fd;
}

short mvm_exec_events(const struct mvm_exec *e)
{
	if (is_over(e))
		return 0;
	return (short)(POLLIN | (channel_wants_write(channel_of(e)) ? POLLOUT : 0));
}

int mvm_exec_timeout_ms(const struct mvm_exec *e)
{
	if (e->told_end)
		return -1;
	return e->error.code ? 0 : clock_remaining_ms(e->deadline_ns);
}

/* End with e->error, and give it to the caller. */
static int fail(struct mvm_exec *e, struct mvm_error *err)
{
	channel_trim(channel_of(e));
	if (err)
		*err = e->error;
	return e->error.code;
}

static int tell_error(struct mvm_exec *e, struct mvm_error *err)
{
	e->told_end = true;
	return fail(e, err);
}

static int run_out(struct mvm_exec *e, struct mvm_error *err)
{
	flow_reset(&e->flow); /* if this fails, closing the connection cancels it, too */
	mvm_error_set(&e->error, -ETIMEDOUT, "the command did not end in time");
	return tell_error(e, err);
}

/* Make an event for the caller.  Returns whether there is one. */
static bool take(struct mvm_exec *e, const struct flow_event *from)
{
	struct mvm_exec_event *to = &e->event;

	*to = (struct mvm_exec_event){ .pid = e->flow.pid,
				       .tty = e->flow.tty,
				       .ended = e->flow.gone,
				       .input_ended = e->flow.deaf };
	switch (from->kind) {
	case FLOW_STARTED:
		to->kind = MVM_EXEC_STARTED;
		return true;
	case FLOW_OUTPUT:
		to->kind = from->channel == DATA_STDOUT ? MVM_EXEC_STDOUT : MVM_EXEC_STDERR;
		to->data = from->data;
		to->len = from->len;
		return from->len > 0;
	case FLOW_ENDED:
		to->kind = MVM_EXEC_EXITED;
		to->status = e->flow.status;
		to->signal = e->flow.signal;
		e->told_end = true;
		return true;
	case FLOW_WINDOW:
		break;
	}
	return false;
}

int mvm_exec_read(struct mvm_exec *e, const struct mvm_exec_event **ret, struct mvm_error *err)
{
	struct channel *ch = channel_of(e);
	struct flow_event from;

	if (e->error.code)
		return tell_error(e, err);
	if (e->told_end)
		return MVM_STREAM_END;
	/* the caller is done with the data that the last call lent it */
	int r = flow_credit(&e->flow, e->event.len);
	e->event.len = 0;
	if (r == 0 && channel_wants_write(ch))
		r = channel_flush(ch);
	if (r < 0 && r != -EPIPE) { /* after EPIPE there is earlier data to read */
		control_gone(&e->instance->control, r, &e->error);
		return tell_error(e, err);
	}
	if (e->deadline_ns != DEADLINE_NONE && clock_now_ns() >= e->deadline_ns)
		return run_out(e, err);
	while ((r = flow_next(&e->flow, &from, &e->error)) > 0) {
		if (take(e, &from)) {
			*ret = &e->event;
			return MVM_STREAM_ITEM;
		}
	}
	if (r < 0)
		return tell_error(e, err);
	channel_trim(ch);
	return MVM_STREAM_WAIT;
}

/* The result of a send.  A broken connection is not reported here, but by the next read. */
static int sent(struct mvm_exec *e, int r, struct mvm_error *err)
{
	if (r == -ENOBUFS)
		return mvm_error_set(err, -EAGAIN, "the instance's supervisor takes no more now");
	if (r >= 0)
		return 0;
	control_gone(&e->instance->control, r, &e->error);
	return fail(e, err);
}

int mvm_exec_write(struct mvm_exec *e, const void *data, size_t len, struct mvm_error *err)
{
	char piece[1 + DATA_MAX];
	size_t done = 0;

	if (is_over(e))
		return mvm_error_set(err, -EPIPE, "the command is over");
	if (!e->input_open)
		return mvm_error_set(err, -EPIPE, "the command's input is closed");
	len = len < INT_MAX ? len : INT_MAX;
	while (done < len && e->flow.window > 0 && !channel_wants_write(channel_of(e))) {
		size_t n = len - done < DATA_MAX ? len - done : DATA_MAX;
		n = n < e->flow.window ? n : e->flow.window;
		memcpy(piece + 1, (const char *)data + done, n);
		int r = sent(e, flow_input(&e->flow, piece, n), err);
		if (r < 0)
			return r;
		done += n;
	}
	return (int)done;
}

int mvm_exec_close_stdin(struct mvm_exec *e, struct mvm_error *err)
{
	char piece[1];
	if (is_over(e) || !e->input_open)
		return 0;
	int r = sent(e, flow_input(&e->flow, piece, 0), err);
	e->input_open = r == -EAGAIN;
	return r;
}

int mvm_exec_resize(struct mvm_exec *e, uint16_t rows, uint16_t columns, struct mvm_error *err)
{
	return is_over(e) ? 0 : sent(e, flow_resize(&e->flow, rows, columns), err);
}

int mvm_exec_signal(struct mvm_exec *e, int number, struct mvm_error *err)
{
	if (number < 1 || number > SIGNAL_MAX)
		return mvm_error_set(err, -EINVAL, "%d is no signal", number);
	return is_over(e) ? 0 : sent(e, flow_signal(&e->flow, number), err);
}

void mvm_exec_close(struct mvm_exec *e)
{
	if (!e)
		return;
	instance_close(e->instance);
	free(e);
}
