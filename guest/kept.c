/* SPDX-License-Identifier: Apache-2.0 */
#include "kept.h"

#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/queue.h"
#include "command.h"
#include "files.h"
#include "net/agent.h"
#include "net/message.h"
#include "net/wire.h"
#include "pipes.h"
#include "stream.h"

#define PIECE_MAX	  (32768u - FRAME_HEADER_SIZE - 1) /* as in exec.c */
#define CREDIT_MAX	  (16u << 20)
#define TERMINAL_LEFT_MAX 65536u
#define END_OF_FILE	  4	     /* Ctrl-D, which ends a terminal's input */
#define INPUT_MAX	  (1u << 20) /* input of all viewers that the command has not read */
#define RUNNING_MAX	  256u
#define ENDED_MAX	  32u /* ends that a late viewer may still ask for */
#define LIST_MAX	  (FRAME_PAYLOAD_MAX - 4096u) /* leaves room for one more note */

struct output {
	struct kept *kept;
	int fd; /* -1: it has ended */
	struct loop_source *source;
	uint8_t channel;
	size_t left; /* bytes in the pipe when the command ended */
};

struct kept {
	struct kept *next;
	struct agent *agent;
	struct child child;
	pid_t pid;
	char cgroup[COMMAND_CGROUP_SIZE];
	char *note;
	bool tty, exited;
	bool over; /* exited, and all its output is passed on */
	int status;
	struct output out[2];
	int stdin_fd;
	struct loop_source *stdin_source, *timer;
	struct queue input;
	bool input_ended;
	struct viewer *viewers;
};

struct viewer {
	struct stream stream;
	struct kept *kept;
	struct viewer *next;
	uint32_t send_window, receive_window;
	uint32_t given;	   /* input that waits in the command's queue */
	uint32_t consumed; /* input that is not credited yet */
};

static void close_stdin(struct kept *k)
{
	stdio_close(&k->stdin_fd, &k->stdin_source);
}

static void free_kept(struct kept *k)
{
	struct kept **at = &k->agent->kept;
	while (*at && *at != k)
		at = &(*at)->next;
	if (*at)
		*at = k->next;
	if (!k->exited && k->child.pid > 0)
		command_kill(k->agent, k->cgroup, &k->child);
	child_forget(&k->agent->children, &k->child);
	close_stdin(k);
	loop_source_free(TAKE_PTR(k->timer));
	for (size_t i = 0; i < MVM_ARRAY_SIZE(k->out); i++)
		stdio_close(&k->out[i].fd, &k->out[i].source);
	queue_done(&k->input);
	free(k->note);
	free(k);
}

void kept_done(struct agent *a)
{
	while (a->kept)
		free_kept(a->kept);
}

/* Forget the oldest ends. */
static void trim(struct agent *a)
{
	unsigned ended = 0;
	for (struct kept *k = a->kept; k; k = k->next)
		ended += k->over;
	for (struct kept *k = a->kept, *next; k && ended > ENDED_MAX; k = next) {
		next = k->next;
		if (!k->over || k->viewers)
			continue;
		free_kept(k);
		ended--;
	}
}

/* Output: command -> viewers --------------------------------------------------------------- */

/* How much all viewers take now. */
static size_t room_of(const struct kept *k)
{
	size_t room = PIECE_MAX;
	for (const struct viewer *v = k->viewers; v; v = v->next)
		room = v->send_window < room ? v->send_window : room;
	return k->viewers && !stream_may_send(k->agent) ? 0 : room;
}

static void send_all(const struct output *o, const void *data, size_t len)
{
	for (struct viewer *v = o->kept->viewers; v; v = v->next) {
		stream_send(o->kept->agent, FRAME_DATA, v->stream.id, data, len + 1);
		v->send_window -= (uint32_t)len;
	}
}

static void end_output(struct output *o)
{
	stdio_close(&o->fd, &o->source);
	send_all(o, &o->channel, 0);
}

/* Pass a piece on.  Returns true if there may be more now. */
static bool pump_output(struct output *o)
{
	static uint8_t piece[1 + PIECE_MAX];
	struct kept *k = o->kept;
	size_t max = room_of(k);

	if (o->fd < 0 || max == 0)
		return false;
	if (k->exited && o->left < max)
		max = o->left;
	ssize_t n = max ? read(o->fd, piece + 1, max) : 0;
	if (n < 0 && errno == EINTR)
		return true;
	if (n < 0 && errno == EAGAIN && !k->exited)
		return false;
	if (n <= 0) { /* as in exec.c: a terminal says EIO, and nobody waits for background's */
		end_output(o);
		return false;
	}
	piece[0] = o->channel;
	send_all(o, piece, (size_t)n);
	if (k->exited)
		o->left -= (size_t)n;
	return true;
}

static void settle(struct kept *k);

static void on_output(void *arg, uint32_t events)
{
	struct output *o = arg;
	(void)events;
	pump_output(o);
	settle(o->kept);
}

static void watch_output(struct output *o)
{
	bool wanted = o->fd >= 0 && room_of(o->kept) > 0;
	if (!wanted)
		loop_source_free(TAKE_PTR(o->source));
	else if (!o->source &&
		 loop_add_fd(o->kept->agent->loop, o->fd, EPOLLIN, on_output, o, &o->source) < 0)
		end_output(o); /* out of memory: the viewers see the output end */
}

/* Call this after any change, as in exec.c.  The viewers' streams end in resume(), since that is
 * called for one after another. */
static void settle(struct kept *k)
{
	bool open = false;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(k->out); i++) {
		struct output *o = &k->out[i];
		while (k->exited && pump_output(o))
			;
		watch_output(o);
		open |= o->fd >= 0;
	}
	if (!k->exited || open || k->over)
		return;
	k->over = true;
	close_stdin(k);
	loop_source_free(TAKE_PTR(k->timer));
	command_sweep(k->agent);
	if (!k->viewers)
		trim(k->agent); /* k may be gone */
}

static void on_exit_status(void *arg, int status)
{
	struct kept *k = arg;
	k->exited = true;
	k->status = status;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(k->out); i++) {
		int n = 0;
		if (k->out[i].fd < 0)
			continue;
		bool told = !k->tty && ioctl(k->out[i].fd, FIONREAD, &n) == 0 && n >= 0;
		k->out[i].left = told ? (size_t)n : TERMINAL_LEFT_MAX;
	}
	settle(k);
}

static void on_timeout(void *arg)
{
	struct kept *k = arg;
	if (!k->exited)
		command_kill(k->agent, k->cgroup, &k->child);
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
			close_stdin(k); /* the command has closed its input */
		else
			queue_take(&k->input, (size_t)n);
	}
	queue_take(&k->input, queue_len(&k->input));
	loop_source_free(TAKE_PTR(k->stdin_source));
	if (k->input_ended && !k->tty)
		close_stdin(k);
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
		close_stdin(k); /* out of memory: the command sees its input end */
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
		close_stdin(k);
	}
	pump_input_soon(k);
}

/* Frames and streams ----------------------------------------------------------------------- */

static void take_credit(struct viewer *v, const struct frame *f)
{
	uint32_t n = message_get_credit(f->payload, f->len);
	v->send_window = n > CREDIT_MAX - v->send_window ? CREDIT_MAX : v->send_window + n;
	settle(v->kept);
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
	settle(k);
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
	settle(k); /* it may have waited for this one; k may be gone now */
	trim(a);
}

static const struct stream_ops viewer_ops = {
	.frame = take_frame,
	.resume = resume,
	.free = free_viewer,
};

static int add_viewer(struct agent *a, struct kept *k, uint32_t id)
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

static void reply_started(struct agent *a, uint32_t id, const struct kept *k)
{
	AUTO_DONE(strbuf) results = { 0 };
	wire_put_u64(&results, FIELD_PID, (uint64_t)k->pid);
	wire_put_u64(&results, FIELD_TTY, k->tty);
	wire_put_u64(&results, FIELD_ENDED, k->exited);
	stream_reply(a, id, 0, NULL, &results);
}

/* Start, attach, list ---------------------------------------------------------------------- */

static int start(struct agent *a, struct kept *k, const struct request *q, struct mvm_error *err)
{
	struct stdio io = STDIO_NONE;
	const char *user = q->user ? q->user : a->user, *workdir = a->workdir;
	char path[PATH_MAX];
	struct user found;
	int r = user_find(user, &found, err);
	if (r == 0 && q->workdir)
		r = files_resolve(&found, q->workdir, path, err);
	if (r < 0)
		return r;
	r = k->tty ? stdio_terminal((uint16_t)q->rows, (uint16_t)q->columns, &io)
		   : stdio_pipes(q->has_stdin, &io);
	k->out[0].fd = io.out[0];
	k->out[1].fd = io.out[1];
	k->stdin_fd = io.in;
	if (r < 0) {
		r = mvm_error_set(err, -EIO, "the guest cannot make the command's streams: %s",
				  strerror(-r));
	} else {
		struct command cmd = {
			.args = &q->args,
			.env = &q->env,
			.workdir = q->workdir ? path : workdir,
			.user = user,
			.fds = { io.theirs[0], io.theirs[1], io.theirs[2] },
			.tty = k->tty,
		};
		r = command_start(a, &cmd, k->cgroup, on_exit_status, k, &k->child, err);
	}
	stdio_close_theirs(&io);
	k->pid = k->child.pid;
	if (r == 0 && q->timeout_ms)
		r = loop_add_timer(a->loop, clock_deadline_ns((int64_t)q->timeout_ms), on_timeout,
				   k, &k->timer);
	return r;
}

static unsigned count_running(const struct agent *a)
{
	unsigned n = 0;
	for (const struct kept *k = a->kept; k; k = k->next)
		n += !k->over;
	return n;
}

static struct kept *new_kept(struct agent *a, const struct request *q)
{
	struct kept *k = calloc(1, sizeof(*k)), **at = &a->kept;
	if (!k)
		return NULL;
	k->agent = a;
	k->out[0] = (struct output){ .kept = k, .fd = -1, .channel = DATA_STDOUT };
	k->out[1] = (struct output){ .kept = k, .fd = -1, .channel = DATA_STDERR };
	k->stdin_fd = -1;
	k->tty = q->tty;
	k->note = strdup(q->note ? q->note : "");
	while (*at)
		at = &(*at)->next;
	*at = k;
	return k;
}

void kept_start(struct agent *a, uint32_t id, const struct request *q)
{
	struct mvm_error err = { 0 };
	int r = 0;

	if (q->args.n == 0)
		r = mvm_error_set(&err, -EINVAL, "no command was given");
	else if (count_running(a) >= RUNNING_MAX)
		r = mvm_error_set(&err, -EBUSY, "the agent keeps as many commands as it can");
	struct kept *k = r == 0 ? new_kept(a, q) : NULL;
	if (r == 0 && (!k || !k->note))
		r = mvm_error_oom(&err);
	if (r == 0)
		r = start(a, k, q, &err);
	if (r == 0)
		r = add_viewer(a, k, id);
	if (r < 0) {
		if (k)
			free_kept(k);
		stream_reply(a, id, r, err.text[0] ? err.text : "out of memory", NULL);
		return;
	}
	reply_started(a, id, k);
	settle(k);
}

void kept_attach(struct agent *a, uint32_t id, const struct request *q)
{
	struct kept *found = NULL;
	for (struct kept *k = a->kept; k; k = k->next) {
		if ((uint64_t)k->pid == q->pid)
			found = k; /* the last one: pids come again */
	}
	int r = found ? add_viewer(a, found, id) : -ENOENT;
	if (r < 0)
		stream_reply(a, id, r, r == -ENOENT ? "no such command is kept" : "out of memory",
			     NULL);
	else
		reply_started(a, id, found); /* one that is over ends in resume() */
}

void kept_list(struct agent *a, uint32_t id)
{
	AUTO_DONE(strbuf) results = { 0 };
	for (const struct kept *k = a->kept; k && results.len < LIST_MAX; k = k->next) {
		if (k->exited)
			continue;
		wire_put_u64(&results, FIELD_PID, (uint64_t)k->pid);
		wire_put_str(&results, FIELD_NOTE, k->note);
	}
	stream_reply(a, id, 0, NULL, &results);
}
