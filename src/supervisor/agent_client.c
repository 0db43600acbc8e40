/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/agent_client.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/message.h"
#include "net/wire.h"

/* Limit on clients' bytes that wait for a guest that reads nothing: a window for each stream that
 * an agent can have open, the headers, and calls. */
#define QUEUE_MAX ((size_t)96 << 20)
/* room beyond QUEUE_MAX for one RESET of each stream, so that cancelling always works */
#define RESETS_MAX ((size_t)64 << 10)
/* A VMM that dies closes the channel a moment before it has ended.  The moment is long where many
 * work. */
#define END_MS INT64_C(10000)

static void mark_broken(struct agent_client *a, const char *why)
{
	if (a->broken[0])
		return;
	snprintf(a->broken, sizeof(a->broken), "%s", why);
	loop_source_free(TAKE_PTR(a->source));
	if (a->on_broken)
		a->on_broken(a->arg);
}

static void mark_misbehaved(struct agent_client *a, const char *how)
{
	a->misbehaved = true;
	mark_broken(a, how);
}

static void take_hello(struct agent_client *a, const struct frame *f)
{
	if (a->hello ||
	    !wire_find_u64(f->payload, f->len, FIELD_PROTOCOL, UINT64_MAX, &a->protocol)) {
		mark_misbehaved(a, "the agent's greeting makes no sense");
		return;
	}
	a->hello = true;
	a->redials = false;
	if (a->release_due)
		agent_client_release(a);
}

static struct agent_later *find_later(const struct agent_client *a, uint32_t stream)
{
	struct agent_later *l = a->later;
	while (l && l->stream != stream)
		l = l->next;
	return l;
}

static void forget_later(struct agent_client *a, struct agent_later *l)
{
	struct agent_later **at = &a->later;
	while (*at && *at != l)
		at = &(*at)->next;
	if (*at)
		*at = l->next;
	l->next = NULL;
	l->stream = 0;
}

static void take_answer(struct agent_client *a, struct agent_later *l, const struct frame *f)
{
	struct mvm_error words = { 0 };
	int status = message_get_status(f->payload, f->len, &words);
	forget_later(a, l);
	l->on_answer(l->arg, status < 0 ? -status : status, words.text, f);
}

static void take_frame(struct agent_client *a, const struct frame *f)
{
	if (f->stream == 0) {
		if (f->type == FRAME_HELLO)
			take_hello(a, f);
		else if (f->type == FRAME_LOG && a->on_log)
			a->on_log(a->log_arg, f);
		else
			mark_misbehaved(a, "the agent sent an unknown message");
		return;
	}
	if (f->stream >= AGENT_OWN_STREAMS) {
		struct agent_later *l = f->type == FRAME_REPLY ? find_later(a, f->stream) : NULL;
		if (l) {
			take_answer(a, l, f);
			return;
		}
		/* a late answer to a call that has timed out is no fault of the guest */
		if (f->stream != a->own_stream || f->type != FRAME_REPLY || a->replied)
			return;
		strbuf_add(&a->reply, f->payload, f->len);
		a->replied = true;
		return;
	}
	if (a->on_frame)
		a->on_frame(a->arg, f);
}

static void on_ready(void *arg, uint32_t events)
{
	struct agent_client *a = arg;
	struct frame f;
	int r = 0;

	if (events & EPOLLOUT)
		r = channel_flush(&a->channel);
	while (r >= 0 && !a->broken[0] && (r = channel_receive(&a->channel, &f)) > 0)
		take_frame(a, &f);
	if (a->broken[0])
		return;
	if (r == 0)
		r = loop_source_set_events(a->source, channel_events(&a->channel));
	if (r == -EPIPE)
		mark_broken(a, "the agent's channel was closed");
	else if (r == -EPROTO)
		mark_misbehaved(a, "the agent broke the protocol");
	else if (r < 0)
		mark_broken(a, strerror(-r));
}

int agent_client_init(struct agent_client *a, struct loop *loop, int fd)
{
	a->channel.fd = fd;
	int r = fcntl(fd, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
	return r < 0 ? r : loop_add_fd(loop, fd, EPOLLIN, on_ready, a, &a->source);
}

int agent_client_move(struct agent_client *a, struct loop *loop, int fd)
{
	struct loop_source *source;
	if (a->broken[0] || a->hello)
		return -EPIPE;
	int r = loop_add_fd(loop, fd, channel_events(&a->channel), on_ready, a, &source);
	if (r < 0)
		return r;
	loop_source_free(a->source);
	a->first_fd = a->channel.fd;
	a->source = source;
	a->channel.fd = fd;
	return 0;
}

int agent_client_move_back(struct agent_client *a, struct loop *loop)
{
	struct loop_source *source;
	if (a->broken[0])
		return -EPIPE;
	if (!a->first_fd)
		return 0; /* it has not been left */
	int r = loop_add_fd(loop, a->first_fd, EPOLLIN, on_ready, a, &source);
	if (r < 0)
		return r;
	loop_source_free(a->source);
	close(a->channel.fd);
	channel_done(&a->channel);
	a->source = source;
	a->channel = (struct channel){ .fd = a->first_fd };
	a->first_fd = 0;
	a->hello = false;
	a->redials = true;
	return 0;
}

void agent_client_done(struct agent_client *a)
{
	loop_source_free(a->source);
	if (a->channel.fd > 0)
		close(a->channel.fd);
	if (a->first_fd > 0)
		close(a->first_fd);
	channel_done(&a->channel);
	strbuf_done(&a->reply);
	strbuf_done(&a->held);
	*a = (struct agent_client){ 0 };
}

struct held {
	uint32_t stream, len;
	uint8_t type;
};

static int hold(struct agent_client *a, uint8_t type, uint32_t stream, const void *payload,
		size_t len)
{
	const struct held head = { .stream = stream, .len = (uint32_t)len, .type = type };
	if (a->held.len + sizeof(head) + len > QUEUE_MAX)
		return -ENOBUFS;
	strbuf_add(&a->held, (const char *)&head, sizeof(head));
	strbuf_add(&a->held, payload, len);
	return a->held.failed ? -ENOMEM : 0;
}

void agent_client_hold(struct agent_client *a)
{
	a->quiet = a->holds = true;
	a->release_due = false;
}

void agent_client_release(struct agent_client *a)
{
	AUTO_DONE(strbuf) held = { 0 };
	a->release_due = a->redials; /* until then the channel takes only a few calls */
	if (a->release_due)
		return;
	held = a->held;
	a->held = (struct strbuf){ 0 };
	a->quiet = a->holds = false;
	for (size_t at = 0; !held.failed && at < held.len;) {
		struct held head;
		memcpy(&head, held.data + at, sizeof(head));
		at += sizeof(head);
		/* a channel that takes no more has broken, and its watcher says so */
		agent_client_send(a, head.type, head.stream, held.data + at, head.len);
		at += head.len;
	}
}

int agent_client_send(struct agent_client *a, uint8_t type, uint32_t stream, const void *payload,
		      size_t len)
{
	if (a->broken[0])
		return -EPIPE;
	if (a->quiet && stream != a->own_stream)
		return a->holds ? hold(a, type, stream, payload, len) : -EBUSY;
	a->channel.out_limit = QUEUE_MAX + (type == FRAME_RESET ? RESETS_MAX : 0);
	int r = channel_send(&a->channel, type, stream, payload, len);
	return r < 0 ? r : loop_source_set_events(a->source, channel_events(&a->channel));
}

bool agent_client_await_end(const struct agent_client *a, struct loop *loop, const bool *ended,
			    int64_t deadline_ns)
{
	int64_t patience_ns = clock_deadline_ns(END_MS);
	if (deadline_ns < patience_ns)
		patience_ns = deadline_ns;
	if (!a->broken[0] || a->misbehaved)
		return *ended;
	while (!*ended && loop_run_once(loop, patience_ns) == 0)
		;
	return *ended;
}

/* Run the loop until *done, the channel breaks, *stop or the deadline. */
static int wait_for(struct agent_client *a, struct loop *loop, const bool *done, const bool *stop,
		    int64_t deadline_ns, const char *what, struct mvm_error *err)
{
	while (!*done) {
		if (stop && *stop)
			return mvm_error_set(err, -EREMOTEIO, "%s: the VM has ended", what);
		if (a->broken[0] && stop && agent_client_await_end(a, loop, stop, deadline_ns))
			continue;
		if (a->broken[0])
			return mvm_error_set(err, -EREMOTEIO, "%s: %s", what, a->broken);
		int r = loop_run_once(loop, deadline_ns);
		if (r == 0 || *done) /* the answer may come together with the deadline */
			continue;
		if (r == -ETIMEDOUT)
			return mvm_error_set(err, r, "%s: no answer from the guest in time", what);
		return mvm_error_set(err, r, "%s: %s", what, strerror(-r));
	}
	return 0;
}

int agent_client_wait_hello(struct agent_client *a, struct loop *loop, const bool *stop,
			    int64_t deadline_ns, struct mvm_error *err)
{
	int r = wait_for(a, loop, &a->hello, stop, deadline_ns, "waiting for the guest's agent",
			 err);
	if (r < 0)
		return r;
	if (a->protocol != AGENT_PROTOCOL)
		return mvm_error_set(err, -EOPNOTSUPP,
				     "the guest's agent speaks protocol %llu, this mvm speaks %u",
				     (unsigned long long)a->protocol, AGENT_PROTOCOL);
	return 0;
}

/* Turn a reply's status into our return value. */
static int check_status(const struct strbuf *reply, const char *what, struct mvm_error *err)
{
	struct mvm_error words = { 0 };
	int status = message_get_status(reply->data, reply->len, &words);
	if (status == 0)
		return 0;
	return mvm_error_set(err, status < 0 ? status : -EREMOTEIO, "%s: %s", what, words.text);
}

int agent_client_call(struct agent_client *a, struct loop *loop, unsigned call, const char *what,
		      const struct strbuf *args, const bool *stop, int64_t deadline_ns,
		      struct strbuf *ret_reply, struct mvm_error *err)
{
	AUTO_DONE(strbuf) payload = { 0 };
	int r = message_put_call(&payload, call, args);
	if (r < 0)
		return r == -ENOMEM
			       ? mvm_error_oom(err)
			       : mvm_error_set(err, r, "%s: the arguments are larger than %u bytes",
					       what, FRAME_PAYLOAD_MAX);

	strbuf_done(&a->reply);
	a->replied = false;
	a->own_stream = AGENT_OWN_STREAMS | ++a->last_own_stream;
	r = agent_client_send(a, FRAME_CALL, a->own_stream, payload.data, payload.len);
	if (r < 0 && !a->broken[0])
		return mvm_error_set(err, -EREMOTEIO, "%s: cannot reach the guest's agent: %s",
				     what, strerror(-r));
	r = wait_for(a, loop, &a->replied, stop, deadline_ns, what, err);
	a->own_stream = 0;
	if (r < 0)
		return r;
	if (a->reply.failed)
		return mvm_error_oom(err);
	r = check_status(&a->reply, what, err);
	if (r == 0 && ret_reply) {
		*ret_reply = a->reply;
		a->reply = (struct strbuf){ 0 };
	}
	return r;
}

bool agent_client_refused(const struct agent_client *a, int status)
{
	return message_get_status(a->reply.data, a->reply.len, NULL) == status;
}

int agent_client_begin(struct agent_client *a, struct agent_later *l, unsigned call,
		       const struct strbuf *args, agent_answer_fn fn, void *arg)
{
	AUTO_DONE(strbuf) payload = { 0 };
	if (l->stream)
		return -EBUSY;
	int r = message_put_call(&payload, call, args);
	if (r < 0)
		return r;
	uint32_t stream = AGENT_OWN_STREAMS | ++a->last_own_stream;
	r = agent_client_send(a, FRAME_CALL, stream, payload.data, payload.len);
	if (r < 0)
		return r;
	*l = (struct agent_later){
		.next = a->later, .stream = stream, .on_answer = fn, .arg = arg
	};
	a->later = l;
	return 0;
}

void agent_client_cancel(struct agent_client *a, struct agent_later *l)
{
	if (!l->stream)
		return;
	agent_client_send(a, FRAME_RESET, l->stream, NULL, 0); /* no guest, nothing to cancel */
	forget_later(a, l);
}
