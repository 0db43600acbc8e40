/* SPDX-License-Identifier: Apache-2.0 */
#include "serve.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "clone.h"
#include "connect.h"
#include "exec.h"
#include "health.h"
#include "identity.h"
#include "kept.h"
#include "net/agent.h"
#include "net/wire.h"
#include "network.h"
#include "port.h"
#include "power.h"
#include "processes.h"
#include "rehearse.h"
#include "request.h"
#include "stream.h"
#include "workload.h"

/* How long the host may be away: it may connect late, or again. */
#define HANGUP_GRACE_MS 2000

static void send_hello(struct agent *a)
{
	AUTO_DONE(strbuf) fields = { 0 };
	struct utsname uts = { 0 };

	uname(&uts); /* cannot fail with a valid pointer */
	wire_put_u64(&fields, FIELD_PROTOCOL, AGENT_PROTOCOL);
	wire_put_str(&fields, FIELD_VERSION, MVM_VERSION);
	wire_put_str(&fields, FIELD_KERNEL, uts.release);
	if (fields.failed)
		a->channel_error = -ENOMEM;
	else
		stream_send(a, FRAME_HELLO, 0, fields.data, fields.len);
}

static void call_ping(struct agent *a, uint32_t id)
{
	AUTO_DONE(strbuf) results = { 0 };
	wire_put_u64(&results, FIELD_TIME_NS, (uint64_t)clock_wall_ns());
	wire_put_u64(&results, FIELD_UPTIME_NS, (uint64_t)clock_now_ns());
	wire_put_u64(&results, FIELD_FROZEN, a->frozen);
	stream_reply(a, id, 0, NULL, &results);
}

static int configure(struct agent *a, struct request *q, struct mvm_error *err)
{
	int r = a->argv0 ? workload_prepare(q, err) : 0; /* a test has no argv0, and no root */
	if (r == 0)
		r = identity_apply(q, err);
	if (r == 0)
		r = network_configure(&a->network, q->address, q->gateway, q->dns, err);
	if (r < 0)
		return r;
	agent_stage(a, "configured");
	a->env = q->env;
	q->env = (struct strv){ 0 };
	a->workdir = TAKE_PTR(q->workdir);
	a->user = TAKE_PTR(q->user);
	a->stop_signal = (int)q->stop_signal;
	a->on_restore = q->restore_args;
	q->restore_args = (struct strv){ 0 };
	a->restore_signal = (int)q->restore_signal;
	a->restore_restart = q->restore_restart;
	a->args = q->args;
	q->args = (struct strv){ 0 };
	a->unstarted = true;
	a->no_workload = q->no_workload;
	if (q->hold) {
		a->held = true;
		/* the host copies files first, and a copy is a child */
		r = children_watch(&a->children, a->loop);
		return r < 0 ? mvm_error_set(err, r, "cannot watch children: %s", strerror(-r)) : 0;
	}
	r = workload_start(a, err);
	agent_stage(a, "workload");
	return r;
}

static void call_start(struct agent *a, uint32_t id)
{
	struct mvm_error err = { 0 };

	if (!a->held) {
		stream_reply(a, id, -EALREADY, "the guest's workload was started already", NULL);
		return;
	}
	a->held = false;
	if (a->frozen) {
		clone_let_go(a, id);
		return;
	}
	int r = workload_start(a, &err);
	if (r < 0)
		agent_log("%s", err.text);
	stream_reply(a, id, r, r < 0 ? err.text : NULL, NULL);
}

static void call_configure(struct agent *a, uint32_t id, struct request *q)
{
	struct mvm_error err = { 0 };
	AUTO_DONE(strbuf) results = { 0 };

	if (a->configured) {
		stream_reply(a, id, -EALREADY, "the guest is configured already", NULL);
		return;
	}
	a->configured = true; /* also on failure: a second attempt must not meet a half-done one */
	int r = configure(a, q, &err);
	if (r < 0) {
		agent_log("%s", err.text);
		stream_reply(a, id, r, err.text, NULL);
		return;
	}
	for (size_t i = 0; i < a->stages.n; i++)
		wire_put_str(&results, FIELD_STAGE, a->stages.v[i]);
	if (a->held)
		wire_put_u64(&results, FIELD_HOLD, 1);
	if (a->no_workload)
		wire_put_u64(&results, FIELD_NO_WORKLOAD, 1);
	stream_reply(a, id, 0, NULL, &results);
}

static void call_clock(struct agent *a, uint32_t id, const struct request *q)
{
	struct mvm_error err = { 0 };
	int r = 0;
	if (q->back ? q->time_ns > 0 : q->time_ns > (uint64_t)clock_wall_ns())
		r = identity_set_clock(q->time_ns, &err);
	stream_reply(a, id, r, r < 0 ? err.text : NULL, NULL);
}

static void call_shutdown(struct agent *a, uint32_t id, const struct request *q)
{
	stream_reply(a, id, 0, NULL, NULL);
	exec_end_commit(a); /* processes must run to end */
	power_shutdown(a, q->timeout_ms);
}

/* Does the call run or wait for processes of the guest, which a commit freezes? */
static bool needs_processes(uint64_t call)
{
	return call == CALL_EXEC || call == CALL_HEALTH || call == CALL_PUT || call == CALL_GET ||
	       call == CALL_PREPARE || call == CALL_FREEZE || call == CALL_KEPT_START ||
	       call == CALL_FILES || call == CALL_CONNECT;
}

/* Is it a call for a guest that is up and not frozen? */
static bool needs_life(uint64_t call)
{
	return needs_processes(call) || call == CALL_CLOCK || call == CALL_AWAIT ||
	       call == CALL_SIGNAL || call == CALL_PROCESSES || call == CALL_COMMIT ||
	       call == CALL_KEPT_ATTACH || call == CALL_KEPT_LIST;
}

/* The reason why the agent cannot answer this call now; NULL when it can. */
static const char *not_now(const struct agent *a, uint64_t call)
{
	if (!needs_life(call))
		return NULL;
	if (a->shutting_down)
		return "the guest is shutting down";
	if (!a->configured)
		return "the guest is not configured yet";
	if (a->held && call != CALL_PUT && call != CALL_PREPARE)
		return "the guest has not been started yet";
	if (a->frozen && call != CALL_PREPARE && call != CALL_FREEZE && !a->held)
		return "the guest is frozen for a snapshot";
	if (a->commit && call == CALL_COMMIT)
		return "the guest is being committed already";
	if (a->committing && needs_processes(call))
		return "the guest is frozen while it is being committed";
	if (call != CALL_CLOCK && a->n_streams >= STREAMS_MAX)
		return "the agent is answering too many calls";
	return NULL;
}

static void dispatch(struct agent *a, uint32_t id, struct request *q)
{
	const char *why = not_now(a, q->call);
	if (why) {
		stream_reply(a, id, -EBUSY, why, NULL);
		return;
	}
	switch (q->call) {
	case CALL_PING:
		call_ping(a, id);
		break;
	case CALL_CONFIGURE:
		call_configure(a, id, q);
		break;
	case CALL_HEALTH:
		health_call(a, id, q);
		break;
	case CALL_EXEC:
	case CALL_PUT:
	case CALL_GET:
	case CALL_COMMIT:
	case CALL_FILES:
		exec_call(a, id, q);
		break;
	case CALL_CONNECT:
		connect_call(a, id, q);
		break;
	case CALL_KEPT_START:
		kept_start(a, id, q);
		break;
	case CALL_KEPT_ATTACH:
		kept_attach(a, id, q);
		break;
	case CALL_KEPT_LIST:
		kept_list(a, id);
		break;
	case CALL_AWAIT:
		workload_await(a, id);
		break;
	case CALL_SIGNAL:
		processes_signal(a, id, q);
		break;
	case CALL_PROCESSES:
		processes_list(a, id);
		break;
	case CALL_CLOCK:
		call_clock(a, id, q);
		break;
	case CALL_PREPARE:
		clone_prepare(a, id, q);
		break;
	case CALL_RESTORED:
		clone_restored(a, id, q);
		break;
	case CALL_REHEARSE:
		clone_rehearse(a, id, q);
		break;
	case CALL_START:
		call_start(a, id);
		break;
	case CALL_FREEZE:
		clone_freeze(a, id, q);
		break;
	case CALL_THAW:
		clone_thaw(a, id, q);
		break;
	case CALL_SHUTDOWN:
		call_shutdown(a, id, q);
		break;
	default:
		stream_reply(a, id, -EOPNOTSUPP, "the agent does not know this call", NULL);
	}
}

static void take_call(struct agent *a, const struct frame *f)
{
	AUTO_DONE(request) q = { 0 };
	struct mvm_error err = { 0 };

	if (f->stream == 0 || stream_find(a, f->stream)) {
		agent_log("the host called on stream %u, which is in use", f->stream);
		a->channel_error = -EPROTO;
		return;
	}
	int r = request_parse(f->payload, f->len, &q, &err);
	if (r < 0)
		stream_reply(a, f->stream, r, err.text, NULL);
	else
		dispatch(a, f->stream, &q);
}

static void take_frame(struct agent *a, const struct frame *f)
{
	if (f->type == FRAME_CALL) {
		take_call(a, f);
		return;
	}
	struct stream *s = stream_find(a, f->stream);
	if (s)
		s->ops->frame(s, f); /* else the stream ended while the frame was under way */
}

static void on_channel(void *arg, uint32_t events);

static int watch_channel(struct agent *a)
{
	return loop_add_fd(a->loop, a->channel.fd, EPOLLIN, on_channel, a, &a->channel_source);
}

/* A restored snapshot has lost its vsock connection: call the new host. */
static int dial_again(struct agent *a)
{
	struct mvm_error err = { 0 };
	int fd = port_dial(&err);
	if (fd < 0)
		return fd;
	close(a->channel.fd); /* the captured machine's connection */
	channel_done(&a->channel);
	a->channel = (struct channel){ .fd = fd };
	int r = watch_channel(a);
	if (r == 0)
		send_hello(a);
	return r;
}

static void on_hangup_timer(void *arg)
{
	struct agent *a = arg;
	struct pollfd p = { .fd = a->channel.fd, .events = POLLIN };
	if (poll(&p, 1, 0) < 0 || (p.revents & (POLLHUP | POLLERR))) {
		a->channel_error = -EPIPE;
		return;
	}
	int r = watch_channel(a);
	if (r < 0)
		a->channel_error = r;
}

/* The host has closed the port.  epoll would report that without end, so stop watching the port
 * until the timer checks again. */
static void hang_up(struct agent *a)
{
	loop_source_free(a->channel_source);
	a->channel_source = NULL;
	if (a->port_is_vsock)
		a->channel_error = a->frozen ? dial_again(a) : -EPIPE;
	else
		loop_source_arm(a->hangup_timer, clock_deadline_ns(HANGUP_GRACE_MS));
}

static void on_channel(void *arg, uint32_t events)
{
	struct agent *a = arg;
	struct frame f;
	int r = 0;

	if (events & EPOLLOUT)
		r = channel_flush(&a->channel);
	while (r == 0 && a->channel_error == 0) {
		r = channel_receive(&a->channel, &f);
		if (r <= 0)
			break;
		take_frame(a, &f);
		r = 0;
	}
	if (r == -EPIPE || (r == 0 && (events & (EPOLLHUP | EPOLLERR))))
		hang_up(a);
	else if (r < 0)
		a->channel_error = r;
}

/* After each turn, watch the port for the events that matter now, and resume the streams that
 * waited for room in its queue. */
static void settle(struct agent *a)
{
	rehearse_go_on(a);
	if (stream_may_send(a)) {
		for (struct stream *s = a->streams, *next; s; s = next) {
			next = s->next;
			if (s->ops->resume)
				s->ops->resume(s);
		}
	}
	if (!a->channel_source)
		return;
	int r = loop_source_set_events(a->channel_source, channel_events(&a->channel));
	if (r < 0)
		a->channel_error = r;
}

int agent_serve(struct agent *a)
{
	int r = loop_add_timer(a->loop, DEADLINE_NONE, on_hangup_timer, a, &a->hangup_timer);
	if (r == 0)
		r = watch_channel(a);
	if (r < 0)
		return r;
	send_hello(a);
	while (a->channel_error == 0) {
		settle(a);
		r = loop_run_once(a->loop, DEADLINE_NONE);
		if (r < 0)
			return r;
	}
	return a->channel_error;
}
