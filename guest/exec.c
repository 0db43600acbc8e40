/* SPDX-License-Identifier: Apache-2.0 */
#include "exec.h"

#include <endian.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "base/error.h"
#include "base/queue.h"
#include "cgroup.h"
#include "command.h"
#include "commit.h"
#include "copy.h"
#include "disks.h"
#include "files.h"
#include "net/agent.h"
#include "net/message.h"
#include "net/wire.h"
#include "pipes.h"
#include "stream.h"

#define CREDIT_MAX (16u << 20) /* cap on the credit that a host grants */
/* Data bytes of a frame that virtio_console takes in one write.  One byte more would cost another
 * trip to the VMM and another interrupt. */
#define PIECE_MAX	  (32768u - FRAME_HEADER_SIZE - 1)
#define TERMINAL_LEFT_MAX 65536u
#define END_OF_FILE	  4 /* Ctrl-D, which ends a terminal's input */

struct exec;

/* One of the process's outputs. */
struct output {
	struct exec *exec;
	int fd; /* -1: the output has ended */
	struct loop_source
		*source; /* set only while we may send: a closed pipe is always readable */
	uint8_t channel;
	size_t left; /* bytes in the pipe when the process ended */
};

struct exec {
	struct stream stream;
	struct child child;
	char cgroup[COMMAND_CGROUP_SIZE];
	bool tty, exited, reset;
	bool cleans_up; /* ends by itself when its input ends early */
	int on_break;	/* the signal on which it cleans up and ends; 0: it is killed */
	int status;

	struct output out[2]; /* a terminal has one */
	uint32_t send_window;

	int stdin_fd;			  /* -1: closed, or never wanted */
	struct loop_source *stdin_source; /* set only while input waits */
	struct queue input;
	bool input_ended;
	uint32_t receive_window;
	uint32_t consumed; /* bytes that we have not credited yet */
};

static void close_output(struct output *o)
{
	stdio_close(&o->fd, &o->source);
}

static void close_stdin(struct exec *e)
{
	stdio_close(&e->stdin_fd, &e->stdin_source);
}

/* Thaw what a commit's child has frozen.  A child that was killed may freeze one more group before
 * it dies, so this happens again when it has ended. */
static void thaw_commit(struct exec *e)
{
	struct agent *a = e->stream.agent;
	if (a->commit != &e->stream)
		return;
	cgroup_thaw_others(a->cgroup_fd, AGENT_CGROUP);
	a->committing = false;
}

static void free_exec(struct stream *s)
{
	struct exec *e = (struct exec *)s;
	thaw_commit(e);
	if (s->agent->commit == s)
		s->agent->commit = NULL;
	if (!e->exited && e->child.pid > 0)
		command_kill(s->agent, e->cgroup, &e->child);
	child_forget(&s->agent->children, &e->child);
	close_stdin(e);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(e->out); i++)
		close_output(&e->out[i]);
	queue_done(&e->input);
	free(e);
}

/* Output: process -> host ---------------------------------------------------------------- */

static void end_output(struct output *o)
{
	close_output(o);
	stream_send(o->exec->stream.agent, FRAME_DATA, o->exec->stream.id, &o->channel, 1);
}

/* Pass output on, within the window.  Returns true if there may be more now. */
static bool pump_output(struct output *o)
{
	struct exec *e = o->exec;
	struct agent *a = e->stream.agent;
	int sent = 0;

	if (o->fd < 0 || e->send_window == 0 || !stream_may_send(a))
		return false;
	size_t max = e->send_window;
	if (e->exited && o->left < max)
		max = o->left;
	/* read once: each read of a full pipe wakes the process, and we lose the CPU to it */
	ssize_t n = max ? channel_send_from(&a->channel, FRAME_DATA, e->stream.id, o->channel,
					    o->fd, max, PIECE_MAX, &sent)
			: 0;
	if (n == -EINTR)
		return true;
	if (n == -EAGAIN && !e->exited)
		return false;
	if ((n == -ENOMEM || sent < 0) && a->channel_error == 0)
		a->channel_error = n < 0 ? (int)n : sent;
	if (n <= 0) {
		/* The output has ended (a terminal says EIO).  Or the process has, and its last
		 * output is read: do not wait for background processes that keep the pipe open. */
		end_output(o);
		return false;
	}
	e->send_window -= (uint32_t)n;
	if (e->exited)
		o->left -= (size_t)n;
	return true;
}

static void settle(struct exec *e);

static void on_output(void *arg, uint32_t events)
{
	struct output *o = arg;
	(void)events;
	pump_output(o); /* at most one window, so that other streams get their turn */
	settle(o->exec);
}

static void watch_output(struct output *o)
{
	struct exec *e = o->exec;
	bool wanted = o->fd >= 0 && e->send_window > 0 && stream_may_send(e->stream.agent);
	if (!wanted) {
		loop_source_free(TAKE_PTR(o->source));
	} else if (!o->source) {
		int r = loop_add_fd(e->stream.agent->loop, o->fd, EPOLLIN, on_output, o,
				    &o->source);
		if (r < 0)
			end_output(o); /* out of memory: the host sees the output end */
	}
}

/* Call this after any change.  It drains the output of an ended process, watches the descriptors
 * that matter now, and closes the stream once all output is sent.  e may be freed afterwards. */
static void settle(struct exec *e)
{
	bool open = false;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(e->out); i++) {
		struct output *o = &e->out[i];
		while (e->exited && !e->reset && pump_output(o))
			;
		watch_output(o);
		open |= o->fd >= 0;
	}
	if (!e->exited || (open && !e->reset))
		return;

	struct agent *a = e->stream.agent;
	if (e->reset)
		stream_end_reset(a, e->stream.id);
	else
		stream_end(a, e->stream.id, e->status);
	stream_close(&e->stream);
	command_sweep(a);
}

static size_t bytes_left(const struct exec *e, const struct output *o)
{
	int n;
	if (e->tty || ioctl(o->fd, FIONREAD, &n) < 0 || n < 0)
		return TERMINAL_LEFT_MAX; /* a terminal reports its end with EIO */
	return (size_t)n;
}

static void on_exit_status(void *arg, int status)
{
	struct exec *e = arg;
	e->exited = true;
	e->status = status;
	thaw_commit(e);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(e->out); i++) {
		if (e->out[i].fd >= 0)
			e->out[i].left = bytes_left(e, &e->out[i]);
	}
	settle(e);
}

static void resume(struct stream *s)
{
	settle((struct exec *)s);
}

/* Input: host -> process ------------------------------------------------------------------ */

static void grant(struct exec *e, size_t n)
{
	uint8_t payload[CREDIT_SIZE];
	uint32_t due = message_credit_due(&e->consumed, n);
	if (due == 0)
		return;
	e->receive_window += due;
	message_put_credit(due, payload);
	stream_send(e->stream.agent, FRAME_CREDIT, e->stream.id, payload, sizeof(payload));
}

static void pump_input(struct exec *e)
{
	size_t done = 0, len = queue_len(&e->input);
	while (e->stdin_fd >= 0 && done < len) {
		ssize_t n = write(e->stdin_fd, queue_front(&e->input) + done, len - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			close_stdin(e); /* the process has closed its input */
		else
			done += (size_t)n;
	}
	if (e->stdin_fd < 0)
		done = len;
	queue_take(&e->input, done);
	grant(e, done);

	if (done == len) {
		loop_source_free(TAKE_PTR(e->stdin_source));
		if (e->input_ended)
			close_stdin(e);
	}
}

static void on_stdin(void *arg, uint32_t events)
{
	(void)events;
	pump_input(arg);
}

/* Write input after this turn, all together: so it wakes the process only once. */
static void pump_input_soon(struct exec *e)
{
	int r = 0;
	if (e->stdin_fd >= 0 && !e->stdin_source)
		r = loop_add_fd(e->stream.agent->loop, e->stdin_fd, EPOLLOUT, on_stdin, e,
				&e->stdin_source);
	if (r < 0)
		close_stdin(e); /* out of memory: the process sees its input end */
	if (e->stdin_fd < 0)
		pump_input(e); /* drops the input */
}

/* Break a stream off.  Kill the command, but not what removes its unfinished file: a copy into the
 * guest notices that its stream ended early (copy/unpack.h), and a write is told by a signal. */
static void break_off(struct exec *e)
{
	e->reset = true;
	if (e->on_break && !e->exited && e->child.pid > 0)
		kill(e->child.pid,
		     e->on_break); /* not reaped yet, so no other process has the id */
	else if (!e->cleans_up)
		command_kill(e->stream.agent, e->cgroup, &e->child);
	close_stdin(e); /* after the signal: the child must not take this for its input's end */
	thaw_commit(e);
	settle(e);
}

void exec_end_commit(struct agent *a)
{
	if (a->commit)
		break_off((struct exec *)a->commit);
}

static void take_input(struct exec *e, const struct frame *f)
{
	if (f->len < 1 || f->payload[0] != DATA_STDIN || e->input_ended)
		return;
	uint32_t len = f->len - 1;
	if (len > e->receive_window || len > DATA_MAX) {
		agent_log("stream %u: the host sent more than it may", e->stream.id);
		break_off(e);
		return;
	}
	e->receive_window -= len;
	if (len == 0) {
		e->input_ended = true;
		if (e->tty)
			queue_add(&e->input, &(char){ END_OF_FILE }, 1);
	}
	queue_add(&e->input, f->payload + 1, len);
	if (e->input.buf.failed)
		break_off(e);
	else
		pump_input_soon(e);
}

static void take_credit(struct exec *e, const struct frame *f)
{
	uint32_t n = message_get_credit(f->payload, f->len);
	e->send_window = n > CREDIT_MAX - e->send_window ? CREDIT_MAX : e->send_window + n;
	settle(e);
}

static void resize(struct exec *e, const struct frame *f)
{
	uint16_t le[2];
	if (f->len != sizeof(le) || !e->tty || e->out[0].fd < 0)
		return;
	memcpy(le, f->payload, sizeof(le));
	struct winsize size = { .ws_row = le16toh(le[0]), .ws_col = le16toh(le[1]) };
	ioctl(e->out[0].fd, TIOCSWINSZ, &size); /* if this fails, the terminal still works */
}

static void send_signal(const struct exec *e, const struct frame *f)
{
	if (f->len == 1 && f->payload[0] > 0 && f->payload[0] < NSIG && e->child.pid > 0)
		kill(-e->child.pid, f->payload[0]); /* not reaped yet, so the group is its own */
}

static void take_frame(struct stream *s, const struct frame *f)
{
	struct exec *e = (struct exec *)s;
	if (e->reset)
		return; /* only the end of the process still matters */
	switch (f->type) {
	case FRAME_DATA:
		take_input(e, f);
		break;
	case FRAME_CREDIT:
		take_credit(e, f);
		break;
	case FRAME_SIGNAL:
		send_signal(e, f);
		break;
	case FRAME_RESIZE:
		resize(e, f);
		break;
	case FRAME_RESET:
		break_off(e);
		break;
	default:
		break;
	}
}

static const struct stream_ops exec_ops = {
	.frame = take_frame,
	.resume = resume,
	.free = free_exec,
};

/* Start ------------------------------------------------------------------------------------ */

struct put {
	const struct request *q;
	struct unpack_owner owner;
};

static int put_main(const void *arg)
{
	const struct put *p = arg;
	return copy_put(p->q, &p->owner);
}

static int get_main(const void *arg)
{
	return copy_get(arg);
}

static int commit_main(const void *arg)
{
	return commit_send(arg);
}

struct files {
	const struct request *q;
	struct user user;
};

static int files_main(const void *arg)
{
	const struct files *f = arg;
	return files_run(&f->q->args, &f->user);
}

/* The function that the child runs instead of a program; NULL: none. */
static child_main_fn main_of(uint64_t call)
{
	if (call == CALL_PUT)
		return put_main;
	if (call == CALL_COMMIT)
		return commit_main;
	if (call == CALL_FILES)
		return files_main;
	return call == CALL_EXEC ? NULL : get_main;
}

static int start(struct agent *a, struct exec *e, const struct request *q, struct mvm_error *err)
{
	static char copy_text[] = "mvm-agent copy";
	static char *copy_name[] = { copy_text, NULL };
	static const struct strv copy_args = { .v = copy_name, .n = 1 };
	/* a commit's child must not freeze itself; its name stays here, so nobody kills the
	 * group */
	char agent_group[COMMAND_CGROUP_SIZE] = AGENT_CGROUP;
	bool commits = q->call == CALL_COMMIT;
	struct stdio io = STDIO_NONE;
	struct put put = { .q = q };
	struct files files = { .q = q };
	const void *main_arg = q;
	bool copies = q->call != CALL_EXEC;
	const char *user = q->user || copies ? q->user : a->user;
	struct user owner;

	if (commits && (a->cgroup_fd < 0 || a->image_fd < 0))
		return mvm_error_set(err, -EOPNOTSUPP, "the guest's kernel has no cgroup v2");
	if (q->owner) {
		int found = user_find(a->user, &owner, err);
		if (found < 0)
			return found;
		put.owner = (struct unpack_owner){ owner.uid, owner.gid };
		disks_note_volume(a->upper_fd, q->path, q->name);
	}
	if (q->call == CALL_FILES) {
		int found = user_find(q->user, &files.user, err);
		if (found < 0)
			return found;
		main_arg = &files;
		user = NULL; /* root does it; USER owns new files */
	} else if (q->call == CALL_PUT) {
		main_arg = &put;
	}
	bool takes_input = q->call == CALL_EXEC || q->call == CALL_FILES;
	bool has_stdin = takes_input ? q->has_stdin : q->call == CALL_PUT;
	int r = e->tty ? stdio_terminal((uint16_t)q->rows, (uint16_t)q->columns, &io)
		       : stdio_pipes(has_stdin, &io);
	e->out[0].fd = io.out[0];
	e->out[1].fd = io.out[1];
	e->stdin_fd = io.in;
	if (r < 0) {
		/* EIO for the reason in command_start() */
		r = mvm_error_set(err, -EIO, "the guest cannot make the command's streams: %s",
				  strerror(-r));
	} else {
		struct command cmd = {
			.args = copies ? &copy_args : &q->args,
			.main = main_of(q->call),
			.main_arg = main_arg,
			.env = &q->env,
			.workdir = q->workdir || copies ? q->workdir : a->workdir,
			.user = user,
			.fds = { commits ? a->image_fd : io.theirs[0], io.theirs[1], io.theirs[2] },
			.tty = e->tty,
		};
		r = command_start(a, &cmd, commits ? agent_group : e->cgroup, on_exit_status, e,
				  &e->child, err);
	}
	stdio_close_theirs(&io);
	return r;
}

void exec_call(struct agent *a, uint32_t id, const struct request *q)
{
	struct mvm_error err = { 0 };
	bool lacks_args = (q->call == CALL_EXEC || q->call == CALL_FILES) && q->args.n == 0;
	struct exec *e = lacks_args ? NULL : calloc(1, sizeof(*e));
	if (!e) {
		stream_reply(a, id, lacks_args ? -EINVAL : -ENOMEM,
			     lacks_args ? "no command was given" : "out of memory", NULL);
		return;
	}
	e->out[0] = (struct output){ .exec = e, .fd = -1, .channel = DATA_STDOUT };
	e->out[1] = (struct output){ .exec = e, .fd = -1, .channel = DATA_STDERR };
	e->stdin_fd = -1;
	e->tty = q->call == CALL_EXEC && q->tty;
	e->cleans_up = q->call == CALL_PUT;
	if (q->call == CALL_FILES && q->args.n > 3 && str_eq(q->args.v[0], "write"))
		e->on_break = SIGTERM; /* files.h */
	e->send_window = e->receive_window = WINDOW_BYTES;
	stream_open(a, &e->stream, &exec_ops, id);

	int r = start(a, e, q, &err);
	if (r == 0 && q->call == CALL_COMMIT) {
		a->commit = &e->stream;
		a->committing = true;
	}
	if (r < 0) {
		stream_close(&e->stream);
		stream_reply(a, id, r, err.text, NULL);
		return;
	}
	AUTO_DONE(strbuf) results = { 0 };
	wire_put_u64(&results, FIELD_PID, (uint64_t)e->child.pid);
	if (q->call == CALL_PUT)
		wire_put_u64(&results, FIELD_HOLES, 1);
	stream_reply(a, id, 0, NULL, &results);
	settle(e);
}
