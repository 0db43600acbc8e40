/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/control.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "net/agent.h"
#include "net/wire.h"

int control_init(struct control *c, int fd)
{
	*c = (struct control){ .channel = { .fd = fd }, .last_stream = 1 };
	return fcntl(fd, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

void control_done(struct control *c)
{
	if (c->channel.fd > 0)
		(void)close(c->channel.fd);
	channel_done(&c->channel);
	*c = (struct control){ 0 };
}

static int gone(int r, struct mvm_error *err)
{
	if (r == -EPIPE)
		return mvm_error_set(err, -EREMOTEIO, "the VM has ended");
	return mvm_error_set(err, r, "talking to the VM's supervisor: %s", strerror(-r));
}

/* Next frame, or -ETIMEDOUT. */
static int next_frame(struct control *c, int64_t deadline_ns, struct frame *ret,
		      struct mvm_error *err)
{
	for (;;) {
		int r = channel_flush(&c->channel);
		if (r == 0)
			r = channel_receive(&c->channel, ret);
		if (r < 0)
			return gone(r, err);
		if (r > 0)
			return 0;
		short out = channel_wants_write(&c->channel) ? POLLOUT : 0;
		struct pollfd pfd = { .fd = c->channel.fd, .events = (short)(POLLIN | out) };
		r = poll(&pfd, 1, clock_remaining_ms(deadline_ns));
		if (r < 0 && errno != EINTR)
			return gone(-errno, err);
		if (r == 0)
			return mvm_error_set(err, -ETIMEDOUT, "no answer in time");
	}
}

/* The reply's status as our return value, its words as the error. */
static int check_reply(const struct frame *f, const char *what, struct mvm_error *err)
{
	struct wire_field field;
	uint64_t status;

	if (wire_find(f->payload, f->len, FIELD_STATUS, &field) <= 0 ||
	    wire_get_u64(&field, &status) < 0 || status > 4095)
		return mvm_error_set(err, -EPROTO, "an answer without a status");
	if (status == 0)
		return 0;
	int r = -(int)status;
	if (wire_find(f->payload, f->len, FIELD_MESSAGE, &field) > 0)
		r = mvm_error_set(err, r, "%.*s", (int)field.len, (const char *)field.data);
	else
		r = mvm_error_set(err, r, "%s", strerror(-r));
	return what ? mvm_error_context(err, r, "%s", what) : r;
}

int control_wait_reply(struct control *c, uint32_t stream, const char *what, int64_t deadline_ns,
		       struct strbuf *ret_reply, struct mvm_error *err)
{
	struct frame f;
	do {
		int r = next_frame(c, deadline_ns, &f, err);
		if (r < 0)
			return what ? mvm_error_context(err, r, "%s", what) : r;
	} while (f.type != FRAME_REPLY || f.stream != stream);

	int r = check_reply(&f, what, err);
	if (r == 0 && ret_reply) {
		strbuf_add(ret_reply, f.payload, f.len);
		if (ret_reply->failed)
			return mvm_error_oom(err);
	}
	return r;
}

static int send_call(struct control *c, unsigned call, const struct strbuf *args,
		     uint32_t *ret_stream, struct mvm_error *err)
{
	AUTO_DONE(strbuf) payload = { 0 };
	wire_put_u64(&payload, FIELD_CALL, call);
	if (args && args->len)
		strbuf_add(&payload, args->data, args->len);
	if (payload.failed || (args && args->failed))
		return mvm_error_oom(err);
	if (payload.len > FRAME_PAYLOAD_MAX)
		return mvm_error_set(err, -EFBIG,
				     "command and environment are larger than %u bytes",
				     FRAME_PAYLOAD_MAX);
	*ret_stream = ++c->last_stream;
	int r = channel_send(&c->channel, FRAME_CALL, *ret_stream, payload.data, payload.len);
	return r < 0 ? gone(r, err) : 0;
}

int control_call(struct control *c, unsigned call, const char *what, const struct strbuf *args,
		 int64_t deadline_ns, struct strbuf *ret_reply, struct mvm_error *err)
{
	uint32_t stream;
	int r = send_call(c, call, args, &stream, err);
	return r < 0 ? r : control_wait_reply(c, stream, what, deadline_ns, ret_reply, err);
}

/* A command that runs, as its client sees it. */
struct session {
	struct control *control;
	const struct control_exec *exec;
	uint32_t stream;
	uint32_t window; /* bytes of input that we may send */
	bool stdin_open;
	bool ended;
	int status;
};

static int send_input(struct session *s)
{
	char data[1 + DATA_MAX];
	size_t max = s->window < DATA_MAX ? s->window : DATA_MAX;

	data[0] = DATA_STDIN;
	ssize_t n = read(s->exec->stdin_fd, data + 1, max);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : -errno;
	if (n == 0)
		s->stdin_open = false; /* an empty frame says so to the guest */
	s->window -= (uint32_t)n;
	return channel_send(&s->control->channel, FRAME_DATA, s->stream, data, (size_t)n + 1);
}

static int send_size(struct session *s)
{
	struct winsize size;
	if (s->exec->tty_fd < 0 || ioctl(s->exec->tty_fd, TIOCGWINSZ, &size) < 0)
		return 0;
	uint16_t payload[2] = { htole16(size.ws_row), htole16(size.ws_col) };
	return channel_send(&s->control->channel, FRAME_RESIZE, s->stream, payload,
			    sizeof(payload));
}

static int pass_signal(struct session *s)
{
	struct signalfd_siginfo info;
	if (read(s->exec->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return 0;
	if (info.ssi_signo == SIGWINCH)
		return send_size(s);
	uint8_t number = (uint8_t)info.ssi_signo;
	return channel_send(&s->control->channel, FRAME_SIGNAL, s->stream, &number, 1);
}

static int take_output(struct session *s, const struct frame *f)
{
	if (f->len == 0 || (f->payload[0] != DATA_STDOUT && f->payload[0] != DATA_STDERR))
		return -EPROTO;
	int to = f->payload[0] == DATA_STDOUT ? s->exec->stdout_fd : s->exec->stderr_fd;
	int r = file_write_all(to, f->payload + 1, f->len - 1);
	if (r < 0 || f->len == 1)
		return r;
	uint32_t credit = htole32(f->len - 1);
	return channel_send(&s->control->channel, FRAME_CREDIT, s->stream, &credit, sizeof(credit));
}

static int take_end(struct session *s, const struct frame *f)
{
	struct wire_field field;
	uint64_t value;

	s->ended = true;
	if (wire_find(f->payload, f->len, FIELD_EXIT_CODE, &field) > 0 &&
	    wire_get_u64(&field, &value) == 0)
		s->status = (int)(value & 255);
	else if (wire_find(f->payload, f->len, FIELD_SIGNAL, &field) > 0 &&
		 wire_get_u64(&field, &value) == 0)
		s->status = 128 + (int)(value & 127);
	else
		return -EPROTO;
	return 0;
}

static int take_frames(struct session *s, struct mvm_error *err)
{
	struct frame f;
	int r = 0;

	while (!s->ended && (r = channel_receive(&s->control->channel, &f)) > 0) {
		if (f.stream != s->stream)
			continue;
		if (f.type == FRAME_CREDIT && f.len == 4) {
			uint32_t le;
			memcpy(&le, f.payload, sizeof(le));
			s->window += le32toh(le);
		} else if (f.type == FRAME_DATA) {
			r = take_output(s, &f);
			if (r < 0)
				return mvm_error_set(err, r,
						     "cannot write the command's output: %s",
						     strerror(-r));
		} else if (f.type == FRAME_END) {
			r = take_end(s, &f);
		} else if (f.type == FRAME_REPLY) {
			return check_reply(&f, NULL, err); /* the supervisor ends the stream */
		}
		if (r < 0)
			return gone(r, err);
	}
	return r < 0 ? gone(r, err) : 0;
}

static int run_session(struct session *s, struct mvm_error *err)
{
	const struct control_exec *exec = s->exec;
	struct channel *ch = &s->control->channel;

	for (;;) {
		/* first what has arrived together with the reply: poll(2) knows nothing of it */
		int r = take_frames(s, err);
		if (r < 0 || s->ended)
			return r;
		short out = channel_wants_write(ch) ? POLLOUT : 0;
		bool input = s->stdin_open && s->window > 0 && !out;
		struct pollfd fds[3] = {
			{ .fd = ch->fd, .events = (short)(POLLIN | out) },
			{ .fd = input ? exec->stdin_fd : -1, .events = POLLIN },
			{ .fd = exec->signal_fd, .events = POLLIN },
		};
		int n = poll(fds, 3, clock_remaining_ms(exec->deadline_ns));
		if (n < 0 && errno != EINTR)
			return gone(-errno, err);
		if (n == 0) {
			(void)channel_send(ch, FRAME_RESET, s->stream, NULL, 0); /* best effort */
			return mvm_error_set(err, -ETIMEDOUT, "the command did not end in time");
		}
		r = out ? channel_flush(ch) : 0;
		if (r == 0 && n > 0 && fds[1].revents)
			r = send_input(s);
		if (r == 0 && n > 0 && fds[2].revents)
			r = pass_signal(s);
		if (r < 0 && r != -EPIPE)
			return gone(r, err);
	}
}

int control_exec(struct control *c, const struct control_exec *exec, int *ret_status,
		 struct mvm_error *err)
{
	struct session s = { .control = c, .exec = exec, .window = WINDOW_BYTES };
	int r = send_call(c, CALL_EXEC, exec->args, &s.stream, err);
	if (r == 0)
		r = control_wait_reply(c, s.stream, NULL, exec->deadline_ns, NULL, err);
	if (r < 0)
		return r;
	s.stdin_open = exec->stdin_fd >= 0;
	r = run_session(&s, err);
	if (r == 0)
		*ret_status = s.status;
	return r;
}
