/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/session.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/progress.h"
#include "base/queue.h"
#include "instance/escape.h"
#include "instance/flow.h"
#include "net/agent.h"

/* How long the guest may take to answer END after a RESET. */
#define RESET_MS 2000

/* How long a command may take to end after a signal was passed on to it. */
#define SIGNAL_GRACE_MS 10000

/* One of the client's outputs. */
struct sink {
	int fd;
	bool own_fd;	  /* fd is our own open description, non-blocking; close it */
	size_t max;	  /* bytes that one write takes without blocking, when poll(2) says so */
	struct queue out; /* bytes that its reader has not taken yet: at most a window */
};

struct session {
	struct flow flow;
	const struct session_spec *spec;
	struct mvm_error *err; /* NULL once it describes the cause */
	bool stdin_open;
	int io_error;	    /* of our own input or output; the guest was told to stop */
	int signal;	    /* the last signal that was passed on; 0: none */
	int64_t give_up_ns; /* when the guest must have ended after that signal; 0: no limit */
	int64_t idle_ns;    /* when the guest has been silent for too long */
	int status;
	struct escape escape;
	struct sink out, words;
};

/*
 * Prepare an output for writes that do not block.  O_NONBLOCK belongs to the open description,
 * which we share with our parent.  So a pipe or a terminal is opened once more; if that fails,
 * poll(2) promises room for PIPE_BUF bytes.  Files never block, sockets have a flag for it.
 */
static void sink_init(struct sink *s, int fd)
{
	struct stat st;
	char path[FD_PATH_SIZE];

	*s = (struct sink){ .fd = fd, .max = DATA_MAX };
	if (fd < 0 || fstat(fd, &st) < 0 || S_ISREG(st.st_mode) || S_ISSOCK(st.st_mode))
		return;
	s->max = PIPE_BUF;
	if (!S_ISFIFO(st.st_mode) && !isatty(fd))
		return;
	fd_path(fd, path);
	int own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (own >= 0)
		*s = (struct sink){ .fd = own, .own_fd = true, .max = WINDOW_BYTES };
}

static void sink_done(struct sink *s)
{
	if (s->own_fd)
		close(s->fd); /* every write has succeeded or was reported */
	queue_done(&s->out);
}

/* Write as much as the reader takes.  Returns the number of bytes, or -errno. */
static ssize_t sink_flush(struct sink *s)
{
	size_t len = queue_len(&s->out) < s->max ? queue_len(&s->out) : s->max;
	ssize_t n = send(s->fd, queue_front(&s->out), len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 && errno == ENOTSOCK)
		n = write(s->fd, queue_front(&s->out), len);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	queue_take(&s->out, (size_t)n);
	return n;
}

/* Our own side has failed, and err describes it.  Cancel the call. */
static int give_up(struct session *s, int r)
{
	if (!s->io_error)
		s->io_error = r;
	s->err = NULL; /* keep the cause: later errors only follow from it */
	s->stdin_open = false;
	return s->flow.ended ? 0 : flow_reset(&s->flow);
}

/* End the session, whatever the guest does.  why: may be NULL. */
static int interrupt(struct session *s, int number, const char *why)
{
	int r = mvm_error_cancelled(s->err,
				    s->spec->call == CALL_EXEC ? "the command" : "the copy");
	flow_reset(&s->flow); /* if this fails, hanging up cancels the call, too */
	s->status = 128 + number;
	return why ? mvm_error_more(s->err, r, ": %s", why) : r;
}

/* Send the n bytes after data[0]; 0 bytes end the input. */
static int send_data(struct session *s, char *data, size_t n)
{
	s->stdin_open = n > 0;
	return flow_input(&s->flow, data, n);
}

/* Send keys of a terminal, without the escape keys, which are for us. */
static int send_keys(struct session *s, char *data, const char *keys, size_t n)
{
	if (escape_feed(&s->escape, keys, n, data + 1, &n))
		return interrupt(s, SIGINT, "~. was typed");
	return n > 0 ? send_data(s, data, n) : 0;
}

static int send_input(struct session *s)
{
	char data[1 + DATA_MAX], keys[DATA_MAX];
	size_t max = s->flow.window < DATA_MAX ? s->flow.window : DATA_MAX;
	const struct session_io *io = s->spec->io;
	bool tty = s->spec->tty_fd >= 0 && !io;

	ssize_t n;
	if (io)
		n = io->read(io->arg, data + 1, max, s->err);
	else if (tty)
		n = read(s->spec->stdin_fd, keys, max - 1); /* room for a held-back tilde */
	else
		n = read(s->spec->stdin_fd, data + 1, max);
	if (n < 0 && io)
		return give_up(s, (int)n);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	/* EIO of a terminal means that the terminal is gone, which ends the input.  Report other
	 * errors as -EIO, because their own codes have a meaning for commands */
	if (n < 0 && !(errno == EIO && isatty(s->spec->stdin_fd)))
		return give_up(s, mvm_error_set(s->err, -EIO, "cannot read the input: %s",
						strerror(errno)));
	if (n <= 0)
		return send_data(s, data, 0);
	return tty ? send_keys(s, data, keys, (size_t)n) : send_data(s, data, (size_t)n);
}

static int send_size(struct session *s)
{
	struct winsize size;
	if (s->spec->tty_fd < 0 || ioctl(s->spec->tty_fd, TIOCGWINSZ, &size) < 0)
		return 0;
	return flow_resize(&s->flow, size.ws_row, size.ws_col);
}

/* Pass the first signal on to the command, which may take its time to end.  A second one ends the
 * session. */
static int take_signal(struct session *s)
{
	struct signalfd_siginfo info;
	if (read(s->spec->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return 0;
	if (info.ssi_signo == SIGWINCH)
		return s->flow.started && !s->flow.ended ? send_size(s) : 0;
	int number = (int)info.ssi_signo;
	if (!s->flow.started || s->flow.ended || s->io_error || s->signal)
		return interrupt(s, number, NULL);
	s->signal = number;
	s->give_up_ns = clock_deadline_ns(SIGNAL_GRACE_MS);
	return flow_signal(&s->flow, number);
}

static int keep_words(struct session *s, const void *data, size_t len)
{
	struct strbuf *words = s->spec->words;
	size_t room = SESSION_WORDS_MAX - words->len;
	strbuf_add(words, data, len < room ? len : room);
	return flow_credit(&s->flow, len);
}

static int take_output(struct session *s, const struct flow_event *e)
{
	bool is_stdout = e->channel == DATA_STDOUT;
	const struct session_io *io = s->spec->io;

	if (e->len == 0)
		return 0;
	if (!is_stdout && s->spec->words)
		return keep_words(s, e->data, e->len);
	if (is_stdout && io && !s->io_error) {
		int r = io->write ? io->write(io->arg, e->data, e->len, s->err) : 0;
		return r < 0 ? give_up(s, r) : flow_credit(&s->flow, e->len);
	}
	struct sink *to = is_stdout ? &s->out : &s->words;
	if ((is_stdout && io) || to->fd < 0 || s->io_error)
		return flow_credit(&s->flow, e->len);
	queue_add(&to->out, e->data, e->len); /* flow_next() has checked the window */
	return to->out.buf.failed ? -ENOMEM : 0;
}

static void start_streams(struct session *s)
{
	const struct session_spec *spec = s->spec;
	s->stdin_open = spec->io ? spec->io->read != NULL : spec->stdin_fd >= 0;
	if (s->flow.holes && spec->io && spec->io->holes)
		spec->io->holes(spec->io->arg);
	sink_init(&s->out, spec->io ? -1 : spec->stdout_fd);
	sink_init(&s->words, spec->words ? -1 : spec->stderr_fd);
}

static void be_patient(struct session *s)
{
	s->idle_ns = s->spec->idle_ms ? clock_deadline_ns(s->spec->idle_ms) : DEADLINE_NONE;
}

/* May input be taken now? */
static bool wants_input(const struct session *s)
{
	uint32_t least = s->spec->tty_fd >= 0; /* for a held-back tilde */
	return s->stdin_open && s->flow.window > least && !s->flow.ended &&
	       !channel_wants_write(&s->flow.control->channel);
}

/* Count the guest's silence only while it is the guest's turn: not while our own input has no
 * bytes, or our own output's reader takes none. */
static void watch_silence(struct session *s)
{
	bool ours = queue_len(&s->out.out) || queue_len(&s->words.out) ||
		    (wants_input(s) && !s->spec->io);
	if (ours)
		s->idle_ns = DEADLINE_NONE;
	else if (s->idle_ns == DEADLINE_NONE)
		be_patient(s);
}

static int take_events(struct session *s)
{
	struct flow_event e;
	int r;

	while ((r = flow_next(&s->flow, &e, s->err)) > 0) {
		be_patient(s);
		if (e.kind == FLOW_STARTED)
			start_streams(s);
		r = e.kind == FLOW_OUTPUT ? take_output(s, &e) : 0;
		if (r < 0)
			return control_gone(s->flow.control, r, s->err);
	}
	return r;
}

static int flush_sink(struct session *s, struct sink *to)
{
	ssize_t n = sink_flush(to);
	if (n < 0) {
		queue_done(&to->out);
		return give_up(s, mvm_error_set(s->err, (int)n,
						"cannot write the command's output: %s",
						strerror((int)-n)));
	}
	int r = flow_credit(&s->flow, (size_t)n);
	return r < 0 ? control_gone(s->flow.control, r, s->err) : 0;
}

/* Wait for an event, and handle it. */
static int turn(struct session *s, int64_t deadline_ns)
{
	const struct session_spec *spec = s->spec;
	struct channel *ch = &s->flow.control->channel;
	short out = channel_wants_write(ch) ? POLLOUT : 0;
	bool input = wants_input(s);
	bool made = input && spec->io;
	struct pollfd fds[] = {
		{ .fd = s->flow.ended ? -1 : ch->fd, .events = (short)(POLLIN | out) },
		{ .fd = input && !made ? spec->stdin_fd : -1, .events = POLLIN },
		{ .fd = spec->signal_fd, .events = POLLIN },
		{ .fd = queue_len(&s->out.out) ? s->out.fd : -1, .events = POLLOUT },
		{ .fd = queue_len(&s->words.out) ? s->words.fd : -1, .events = POLLOUT },
		{ .fd = s->flow.control->cancel_fd, .events = POLLIN },
		{ .fd = -1 },
	};
	int n = progress_poll(s->flow.control->progress, fds, MVM_ARRAY_SIZE(fds),
			      made ? 0 : deadline_ns);
	if (n == -ECANCELED)
		return interrupt(s, SIGINT, NULL);
	if (n < 0)
		return n == -EINTR ? 0 : control_gone(s->flow.control, n, s->err);
	/* check the time also when events never stop: a command may print without end */
	if (deadline_ns != DEADLINE_NONE && clock_now_ns() >= deadline_ns)
		return -ETIMEDOUT;
	int r = out ? channel_flush(ch) : 0;
	if (r == -EPIPE)
		r = 0; /* data that it sent before is still to be read */
	if (r == 0 && (made || fds[1].revents))
		r = send_input(s);
	if (r == 0 && fds[2].revents)
		r = take_signal(s);
	if (r == 0 && fds[5].revents)
		r = interrupt(s, SIGINT, NULL);
	if (r < 0)
		return r == -ECANCELED ? r : control_gone(s->flow.control, r, s->err);
	r = fds[3].revents ? flush_sink(s, &s->out) : 0;
	return r == 0 && fds[4].revents ? flush_sink(s, &s->words) : r;
}

/* The next deadline for the guest. */
static int64_t patience(const struct session *s)
{
	if (s->flow.ended)
		return DEADLINE_NONE;
	int64_t until = s->spec->deadline_ns < s->idle_ns ? s->spec->deadline_ns : s->idle_ns;
	return s->give_up_ns && s->give_up_ns < until ? s->give_up_ns : until;
}

static int ran_out(struct session *s)
{
	if (s->io_error)
		return s->io_error;
	if (s->give_up_ns && clock_now_ns() >= s->give_up_ns)
		return interrupt(s, s->signal, "it did not end within 10 s of the signal");
	flow_reset(&s->flow);
	if (clock_now_ns() >= s->idle_ns)
		return mvm_error_set(s->err, -ETIMEDOUT, "the guest was silent for %lld s",
				     (long long)(s->spec->idle_ms / 1000));
	/* the same text whether or not the command has started */
	return mvm_error_set(s->err, -ETIMEDOUT, "the command did not end in time");
}

/* When to check that the supervisor is alive.  After the start a guest may be silent for ever, and
 * the user can interrupt it. */
static int64_t watch_ns(const struct session *s)
{
	return s->flow.started || s->io_error ? DEADLINE_NONE : control_watch_ns(s->flow.control);
}

static int check_alive(struct session *s)
{
	int r = take_events(s); /* if we were stopped, an answer waits */
	return r == 0 && clock_now_ns() >= watch_ns(s) ? control_watch_due(s->flow.control, s->err)
						       : r;
}

static int carry(struct session *s)
{
	int64_t reset_ns = DEADLINE_NONE;
	for (;;) {
		/* first handle the frames that are buffered already: poll(2) does not see them */
		int r = take_events(s);
		if (r < 0)
			return s->io_error ? s->io_error : r;
		if (s->io_error && reset_ns == DEADLINE_NONE)
			reset_ns = clock_deadline_ns(RESET_MS);
		if (s->flow.ended &&
		    (s->io_error || (!queue_len(&s->out.out) && !queue_len(&s->words.out))))
			return s->io_error;
		watch_silence(s);
		int64_t until_ns = s->io_error ? reset_ns : patience(s);
		bool watch = watch_ns(s) < until_ns;
		r = turn(s, watch ? watch_ns(s) : until_ns);
		if (r == -ETIMEDOUT && !watch)
			return ran_out(s);
		if (r == -ETIMEDOUT)
			r = check_alive(s);
		if (r < 0)
			return s->io_error ? s->io_error : r;
	}
}

int session_run(struct control *c, const struct session_spec *spec, int *ret_status,
		struct mvm_error *err)
{
	struct session s = { .spec = spec, .err = err };
	int r = flow_begin(&s.flow, c, spec->call, spec->args, err);
	if (r < 0)
		return r;
	be_patient(&s);
	r = carry(&s);
	sink_done(&s.out);
	sink_done(&s.words);
	if (r == 0)
		*ret_status = s.flow.status;
	else if (r == -ECANCELED)
		*ret_status = s.status;
	return r;
}
