/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/progress.h"
#include "net/agent.h"
#include "net/message.h"

int control_init(struct control *c, int fd)
{
	*c = (struct control){ .channel = { .fd = fd }, .last_stream = 1, .cancel_fd = -1 };
	return fcntl(fd, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

void control_done(struct control *c)
{
	if (c->channel.fd > 0)
		close(c->channel.fd);
	channel_done(&c->channel);
	*c = (struct control){ 0 };
}

int control_gone(const struct control *c, int r, struct mvm_error *err)
{
	/* ECONNRESET: the supervisor ended before it accepted us */
	if (r == -EPIPE || r == -ECONNRESET) {
		r = mvm_error_set(err, -EREMOTEIO, "the VM has ended");
		return mvm_error_reason(err, r, "instance-ended", c->name);
	}
	if (r == -EPROTO) {
		r = mvm_error_set(err, r, "the guest broke the agent protocol");
		return mvm_error_reason(err, r, "guest-broke-protocol", c->name);
	}
	return mvm_error_set(err, r, "talking to the VM's supervisor: %s", strerror(-r));
}

/* ---- is the supervisor alive? ---- */

void control_watch(struct control *c, int64_t quiet_ms, int64_t answer_ms)
{
	c->watch = (struct control_watch){ .quiet_ns = quiet_ms * NS_PER_MS,
					   .answer_ns = answer_ms * NS_PER_MS };
}

void control_watch_begin(struct control *c)
{
	struct control_watch *w = &c->watch;
	w->longer_ns = w->quiet_ns;
	w->due_ns = clock_now_ns() + w->longer_ns;
	w->asked = false;
}

void control_watch_heard(struct control *c)
{
	struct control_watch *w = &c->watch;
	if (w->asked)
		w->longer_ns = 2 * (w->longer_ns + w->answer_ns);
	w->due_ns = clock_now_ns() + w->longer_ns;
	w->asked = false;
}

int64_t control_watch_ns(const struct control *c)
{
	return c->watch.answer_ns ? c->watch.due_ns : DEADLINE_NONE;
}

int control_watch_due(struct control *c, struct mvm_error *err)
{
	uint32_t stream;
	if (c->watch.asked) {
		int r = mvm_error_set(err, -ETIMEDOUT, "the VM's supervisor does not answer");
		return mvm_error_reason(err, r, "supervisor-silent", c->name);
	}
	c->watch.asked = true;
	c->watch.due_ns = clock_now_ns() + c->watch.answer_ns;
	return control_send_call(c, CALL_ALIVE, NULL, &stream, err);
}

/* ---- calls ---- */

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Next frame, or -ETIMEDOUT or -ECANCELED. */
static int next_frame(struct control *c, int64_t deadline_ns, struct frame *ret,
		      struct mvm_error *err)
{
	for (;;) {
		int r = channel_flush(&c->channel);
		if (r == 0)
			r = channel_receive(&c->channel, ret);
		if (r < 0)
			return control_gone(c, r, err);
		if (r > 0) {
			control_watch_heard(c);
			return 0;
		}
		short out = channel_wants_write(&c->channel) ? POLLOUT : 0;
		struct pollfd fds[] = {
			{ .fd = c->channel.fd, .events = (short)(POLLIN | out) },
			{ .fd = c->cancel_fd, .events = POLLIN },
			{ .fd = -1 },
		};
		int64_t until_ns = earlier(deadline_ns, control_watch_ns(c));
		r = progress_poll(c->progress, fds, MVM_ARRAY_SIZE(fds), until_ns);
		if (r == -ECANCELED || (r > 0 && fds[1].revents))
			return mvm_error_cancelled(err, "it");
		if (r < 0 && r != -EINTR)
			return control_gone(c, r, err);
		if (r == 0 && until_ns == deadline_ns)
			return mvm_error_set(err, -ETIMEDOUT, "no answer in time");
		r = r == 0 ? control_watch_due(c, err) : 0;
		if (r < 0)
			return r;
	}
}

int control_check_reply(const struct control *c, const struct frame *f, const char *what,
			struct mvm_error *err)
{
	int r = message_get_status(f->payload, f->len, err);
	if (r == 0)
		return 0;
	r = mvm_error_subject(err, r > 0 ? -r : r, c->name);
	return what ? mvm_error_context(err, r, "%s", what) : r;
}

int control_wait_reply(struct control *c, uint32_t stream, const char *what, int64_t deadline_ns,
		       struct strbuf *ret_reply, struct mvm_error *err)
{
	struct frame f = { 0 };
	control_watch_begin(c);
	do {
		int r = next_frame(c, deadline_ns, &f, err);
		if (r < 0)
			return what ? mvm_error_context(err, r, "%s", what) : r;
	} while (f.type != FRAME_REPLY || f.stream != stream);

	int r = control_check_reply(c, &f, what, err);
	if (r == 0 && ret_reply) {
		strbuf_add(ret_reply, f.payload, f.len);
		if (ret_reply->failed)
			return mvm_error_oom(err);
	}
	return r;
}

int control_send_call(struct control *c, unsigned call, const struct strbuf *args,
		      uint32_t *ret_stream, struct mvm_error *err)
{
	AUTO_DONE(strbuf) payload = { 0 };
	int r = message_put_call(&payload, call, args);
	if (r < 0)
		return r == -ENOMEM ? mvm_error_oom(err)
				    : mvm_error_set(err, r, "a request is larger than %u bytes",
						    FRAME_PAYLOAD_MAX);
	*ret_stream = ++c->last_stream;
	r = channel_send(&c->channel, FRAME_CALL, *ret_stream, payload.data, payload.len);
	return r < 0 ? control_gone(c, r, err) : 0;
}

int control_call(struct control *c, unsigned call, const char *what, const struct strbuf *args,
		 int64_t deadline_ns, struct strbuf *ret_reply, struct mvm_error *err)
{
	uint32_t stream;
	int r = control_send_call(c, call, args, &stream, err);
	return r < 0 ? r : control_wait_reply(c, stream, what, deadline_ns, ret_reply, err);
}
