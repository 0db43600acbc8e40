/* SPDX-License-Identifier: Apache-2.0 */
#include "viewer.h"

#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "base/error.h"
#include "net/agent.h"
#include "net/message.h"
#include "pipes.h"

#define CREDIT_MAX  (16u << 20)
#define END_OF_FILE 4	       /* Ctrl-D, which ends a terminal's input */
#define INPUT_MAX   (1u << 20) /* input of all viewers that the command has not read */

void kept_close_stdin(struct kept *k)
{
	stdio_close(&k->stdin_fd, &k->stdin_source);
}

bool kept_takes_input(const struct kept *k)
{
	struct pollfd input = { .fd = k->stdin_fd };
	if (k->exited || k->stdin_fd < 0 || k->input_ended)
		return false;
	return poll(&input, 1, 0) <= 0 || !(input.revents & POLLERR); /* nobody can read it */
}

/* Input: viewers -> command ---------------------------------------------------------------- */

/* The queue is empty: what the viewers gave is consumed. */
static void grant_all(struct kept *k)
{
	uint8_t payload[CREDIT_SIZE];
	for (struct viewer *v = k->viewers; v; v = v->next) {
		uint32_t due = message_credit_due(&v->consumed, v->given);
		v->given = 0;
		if (due == 0)
			continue;
		v->receive_window += due;
		message_put_credit(due, payload);
		stream_send(k->agent, FRAME_CREDIT, v->stream.id, payload, sizeof(payload));
	}
}

static void pump_input(struct kept *k)
{
	while (k->stdin_fd >= 0 && queue_len(&k->input) > 0) {
		ssize_t n = write(k->stdin_fd, queue_front(&k->input), queue_len(&k->input));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			kept_close_stdin(k); /* the command has closed its input */
		else
			queue_take(&k->input, (size_t)n);
	}
	queue_take(&k->input, queue_len(&k->input));
	loop_source_free(TAKE_PTR(k->stdin_source));
	if (k->input_ended && !k->tty)
		kept_close_stdin(k);
	grant_all(k);
}

static void on_stdin(void *arg, uint32_t events)
{
	(void)events;
	pump_input(arg);
}

/* Write input after this turn, all together. */
static void pump_input_soon(struct kept *k)
{
	if (k->stdin_fd >= 0 && !k->stdin_source &&
	    loop_add_fd(k->agent->loop, k->stdin_fd, EPOLLOUT, on_stdin, k, &k->stdin_source) < 0)
		kept_close_stdin(k); /* out of memory: the command sees its input end */
	if (k->stdin_fd < 0)
		pump_input(k); /* drops it */
}

/* End a viewer whose host has let go or broken the rules.  Frees it. */
static void let_go(struct viewer *v)
{
	struct agent *a = v->stream.agent;
	stream_end_reset(a, v->stream.id);
	stream_close(&v->stream);
}

static void take_input(struct viewer *v, const struct frame *f)
{
	struct kept *k = v->kept;
	if (f->len < 1 || f->payload[0] != DATA_STDIN)
		return;
	uint32_t len = f->len - 1;
	if (len > v->receive_window || len > DATA_MAX || queue_len(&k->input) + len > INPUT_MAX) {
		agent_log("stream %u: more input than there is room for", v->stream.id);
		let_go(v);
		return;
	}
	v->receive_window -= len;
	v->given += len;
	if (len > 0 && !k->input_ended)
		queue_add(&k->input, f->payload + 1, len);
	if (len == 0 && k->tty)
		queue_add(&k->input, &(char){ END_OF_FILE }, 1);
	else if (len == 0)
		k->input_ended = true;
	if (k->input.buf.failed) {
		queue_done(&k->input);
		kept_close_stdin(k);
	}
	pump_input_soon(k);
}

/* Frames and streams ----------------------------------------------------------------------- */

static void take_credit(struct viewer *v, const struct frame *f)
{
	uint32_t n = message_get_credit(f->payload, f->len);
	v->send_window = n > CREDIT_MAX - v->send_window ? CREDIT_MAX : v->send_window + n;
	kept_settle(v->kept);
}

static void resize(const struct kept *k, const struct frame *f)
{
	uint16_t le[2];
	if (f->len != sizeof(le) || !k->tty || k->out[0].fd < 0)
		return;
	memcpy(le, f->payload, sizeof(le));
	struct winsize size = { .ws_row = le16toh(le[0]), .ws_col = le16toh(le[1]) };
	ioctl(k->out[0].fd, TIOCSWINSZ, &size); /* if this fails, the terminal still works */
}

static void send_signal(const struct kept *k, const struct frame *f)
{
	if (f->len == 1 && f->payload[0] > 0 && f->payload[0] < NSIG && !k->exited)
		kill(-k->pid, f->payload[0]); /* not reaped yet, so the group is its own */
}

static void take_frame(struct stream *s, const struct frame *f)
{
	struct viewer *v = (struct viewer *)s;
	switch (f->type) {
	case FRAME_DATA:
		take_input(v, f);
		break;
	case FRAME_CREDIT:
		take_credit(v, f);
		break;
	case FRAME_SIGNAL:
		send_signal(v->kept, f);
		break;
	case FRAME_RESIZE:
		resize(v->kept, f);
		break;
	case FRAME_RESET:
		let_go(v);
		break;
	default:
		break;
	}
}

static void resume(struct stream *s)
{
	struct viewer *v = (struct viewer *)s;
	struct kept *k = v->kept;
	kept_settle(k);
	if (!k->over)
		return;
	stream_end(s->agent, s->id, k->status);
	stream_close(s);
}

static void free_viewer(struct stream *s)
{
	struct viewer *v = (struct viewer *)s;
	struct kept *k = v->kept;
	struct agent *a = s->agent;
	struct viewer **at = &k->viewers;
	while (*at != v)
		at = &(*at)->next;
	*at = v->next;
	free(v);
	kept_settle(k); /* it may have waited for this one; k may be gone now */
	kept_trim(a);
}

static const struct stream_ops viewer_ops = {
	.frame = take_frame,
	.resume = resume,
	.free = free_viewer,
};

int viewer_add(struct agent *a, struct kept *k, uint32_t id)
{
	struct viewer *v = calloc(1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	v->kept = k;
	v->send_window = v->receive_window = WINDOW_BYTES;
	stream_open(a, &v->stream, &viewer_ops, id);
	v->next = k->viewers;
	k->viewers = v;
	return 0;
}
