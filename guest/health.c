/* SPDX-License-Identifier: Apache-2.0 */
#include "health.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/error.h"
#include "command.h"
#include "http.h"
#include "net/agent.h"
#include "stream.h"

#define INTERVAL_MS_DEFAULT 200
#define INTERVAL_MS_MIN	    10
#define TIMEOUT_MS_DEFAULT  60000
#define ATTEMPT_MS_MAX	    5000 /* for one attempt */
#define OUTPUT_MAX	    200u

enum health_state {
	HEALTH_PAUSE = 0, /* waiting for the timer to start the next attempt */
	HEALTH_CONNECT,
	HEALTH_READ, /* reading the status line of the answer */
	HEALTH_COMMAND,
};

struct health {
	struct stream stream;
	enum health_state state;
	int64_t interval_ms, deadline_ns, attempt_deadline_ns;
	struct loop_source *timer;

	struct http_target target; /* for http and tcp; tcp has no request */
	struct strv args;	   /* for a command */

	int fd; /* the attempt's socket, or the read end of its command's output, or -1 */
	struct loop_source *source;
	struct child child;
	char cgroup[COMMAND_CGROUP_SIZE];
	struct strbuf got; /* the part of the status line or output that has arrived */

	char answer[512]; /* the last attempt's result */
};

static void end_attempt(struct health *h)
{
	loop_source_free(h->source);
	h->source = NULL;
	if (h->fd >= 0)
		close(h->fd); /* only read from */
	h->fd = -1;
	if (h->child.pid > 0) {
		command_kill(h->stream.agent, h->cgroup, &h->child);
		child_forget(&h->stream.agent->children, &h->child);
	}
	h->cgroup[0] = '\0';
	strbuf_done(&h->got);
}

static void free_health(struct stream *s)
{
	struct health *h = (struct health *)s;
	end_attempt(h);
	loop_source_free(h->timer);
	free(h->target.request);
	strv_done(&h->args);
	free(h);
}

static void finish(struct health *h, int code, const char *message)
{
	struct agent *a = h->stream.agent;
	if (code == -ETIMEDOUT && a->committing)
		code = -EBUSY; /* a frozen workload cannot answer */
	stream_reply(a, h->stream.id, code, message, NULL);
	stream_close(&h->stream);
	command_sweep(a);
}

static void pause_until_next(struct health *h)
{
	end_attempt(h);
	command_sweep(h->stream.agent);
	h->state = HEALTH_PAUSE;
	int64_t next = clock_deadline_ns(h->interval_ms);
	if (next < h->deadline_ns)
		loop_source_arm(h->timer, next);
	else
		finish(h, -ETIMEDOUT, h->answer); /* too late for another attempt */
}

static void __attribute__((format(printf, 2, 3)))
attempt_failed(struct health *h, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(h->answer, sizeof(h->answer), fmt, ap); /* truncation is fine */
	va_end(ap);
	pause_until_next(h);
}

/* http and tcp ------------------------------------------------------------------------------ */

static void read_status_line(struct health *h)
{
	char chunk[HTTP_STATUS_LINE_MAX];
	ssize_t n = read(h->fd, chunk, sizeof(chunk) - h->got.len);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		attempt_failed(h, "the connection ended without an answer%s%s", n < 0 ? ": " : "",
			       n < 0 ? strerror(errno) : "");
		return;
	}
	strbuf_add(&h->got, chunk, (size_t)n);
	int status = h->got.failed ? -ENOMEM : http_status(h->got.data, h->got.len);
	if (status >= 200 && status <= 399)
		finish(h, 0, NULL);
	else if (status > 0)
		attempt_failed(h, "the answer was %.*s", (int)strcspn(h->got.data, "\r\n"),
			       h->got.data);
	else if (status < 0)
		attempt_failed(h, "the answer is not HTTP");
}

static void send_request(struct health *h)
{
	size_t len = strlen(h->target.request);
	/* the buffer of a new connection has room for the whole request */
	ssize_t n = send(h->fd, h->target.request, len, MSG_NOSIGNAL);
	if (n != (ssize_t)len) {
		attempt_failed(h, "cannot send the request: %s",
			       n < 0 ? strerror(errno) : "the connection is stuck");
		return;
	}
	h->state = HEALTH_READ;
	int r = loop_source_set_events(h->source, EPOLLIN);
	if (r < 0)
		attempt_failed(h, "cannot wait for the answer: %s", strerror(-r));
}

static void connected(struct health *h)
{
	int code = 0;
	socklen_t len = sizeof(code);
	if (getsockopt(h->fd, SOL_SOCKET, SO_ERROR, &code, &len) < 0)
		code = errno;
	if (code)
		attempt_failed(h, "cannot connect: %s", strerror(code));
	else if (h->target.request)
		send_request(h);
	else
		finish(h, 0, NULL);
}

static void on_socket(void *arg, uint32_t events)
{
	struct health *h = arg;
	(void)events;
	if (h->state == HEALTH_CONNECT)
		connected(h);
	else
		read_status_line(h);
}

static void start_connect(struct health *h)
{
	h->fd = socket(h->target.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (h->fd < 0) {
		attempt_failed(h, "cannot make a socket: %s", strerror(errno));
		return;
	}
	int r = connect(h->fd, (const struct sockaddr *)&h->target.address, h->target.address_len);
	if (r < 0 && errno != EINPROGRESS) {
		attempt_failed(h, "cannot connect: %s", strerror(errno));
		return;
	}
	h->state = HEALTH_CONNECT;
	r = loop_add_fd(h->stream.agent->loop, h->fd, EPOLLOUT, on_socket, h, &h->source);
	if (r < 0)
		attempt_failed(h, "cannot wait for the connection: %s", strerror(-r));
}

/* A command --------------------------------------------------------------------------------- */

/* Keep the beginning of the command's output, drop the rest. */
static void read_output(struct health *h)
{
	char chunk[4096];
	ssize_t n = read(h->fd, chunk, sizeof(chunk));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		loop_source_free(h->source);
		h->source = NULL;
		return;
	}
	size_t room = OUTPUT_MAX - h->got.len;
	strbuf_add(&h->got, chunk, (size_t)n < room ? (size_t)n : room);
}

static void on_command_output(void *arg, uint32_t events)
{
	(void)events;
	read_output(arg);
}

static void on_command_exit(void *arg, int status)
{
	struct health *h = arg;
	char what[CHILD_STATUS_SIZE];

	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		finish(h, 0, NULL);
		return;
	}
	if (h->source)
		read_output(h); /* the output that is still in the pipe */
	child_describe(status, what);
	size_t len = h->got.len ? strcspn(h->got.data, "\n") : 0;
	attempt_failed(h, "'%s' ended with %s%s%.*s", h->args.v[0], what, len ? ": " : "", (int)len,
		       len ? h->got.data : "");
}

static void start_command(struct health *h)
{
	struct mvm_error err = { 0 };
	struct agent *a = h->stream.agent;
	int fds[2] = { -1, -1 };
	bool made = pipe2(fds, O_CLOEXEC) == 0 && fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0;
	AUTO_CLOSE int read_end = fds[0], write_end = fds[1];

	if (!made) {
		attempt_failed(h, "cannot make a pipe: %s", strerror(errno));
		return;
	}
	h->fd = TAKE_FD(read_end);
	h->state = HEALTH_COMMAND;
	struct command cmd = {
		.args = &h->args,
		.workdir = a->workdir,
		.user = a->user,
		.fds = { -1, write_end, write_end },
	};
	int r = command_start(a, &cmd, h->cgroup, on_command_exit, h, &h->child, &err);
	if (r == 0) {
		r = loop_add_fd(a->loop, h->fd, EPOLLIN, on_command_output, h, &h->source);
		if (r < 0)
			mvm_error_set(&err, r, "cannot watch '%s': %s", h->args.v[0], strerror(-r));
	}
	if (r < 0)
		attempt_failed(h, "%s", err.text);
}

/* The call ---------------------------------------------------------------------------------- */

static void start_attempt(struct health *h)
{
	int64_t limit = clock_deadline_ns(ATTEMPT_MS_MAX);
	h->attempt_deadline_ns = limit < h->deadline_ns ? limit : h->deadline_ns;
	loop_source_arm(h->timer, h->attempt_deadline_ns);
	if (h->args.n > 0)
		start_command(h);
	else
		start_connect(h);
}

static void on_timer(void *arg)
{
	struct health *h = arg;
	if (h->state != HEALTH_PAUSE && !h->answer[0])
		snprintf(h->answer, sizeof(h->answer), "no answer in time");
	if (clock_now_ns() >= h->deadline_ns)
		finish(h, -ETIMEDOUT, h->answer[0] ? h->answer : "no time to try");
	else if (h->state == HEALTH_PAUSE)
		start_attempt(h);
	else
		attempt_failed(h, "no answer within %d s", ATTEMPT_MS_MAX / 1000);
}

static void fail_for_workload(struct health *h)
{
	char what[CHILD_STATUS_SIZE], message[128];
	child_describe(h->stream.agent->workload_status, what);
	snprintf(message, sizeof(message), "the workload has ended with %s", what);
	finish(h, -ESRCH, message);
}

static void on_workload_ended(struct stream *s)
{
	fail_for_workload((struct health *)s);
}

static void take_frame(struct stream *s, const struct frame *f)
{
	struct agent *a = s->agent;
	if (f->type != FRAME_RESET)
		return;
	stream_end_reset(a, s->id);
	stream_close(s);
	command_sweep(a);
}

static const struct stream_ops health_ops = {
	.frame = take_frame,
	.workload_ended = on_workload_ended,
	.free = free_health,
};

static int set_target(struct health *h, const struct request *q, struct mvm_error *err)
{
	struct sockaddr_in local = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)q->health_tcp),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	if (q->health_http)
		return http_parse_url(q->health_http, &h->target, err);
	memcpy(&h->target.address, &local, sizeof(local));
	h->target.address_len = sizeof(local);
	for (size_t i = 0; i < q->args.n; i++)
		strv_add(&h->args, q->args.v[i]);
	return h->args.failed ? mvm_error_oom(err) : 0;
}

void health_call(struct agent *a, uint32_t id, const struct request *q)
{
	struct mvm_error err = { 0 };
	struct health *h = calloc(1, sizeof(*h));
	if (!h) {
		stream_reply(a, id, -ENOMEM, "out of memory", NULL);
		return;
	}
	h->fd = -1;
	h->interval_ms = (int64_t)(q->interval_ms ? q->interval_ms : INTERVAL_MS_DEFAULT);
	if (h->interval_ms < INTERVAL_MS_MIN)
		h->interval_ms = INTERVAL_MS_MIN;
	h->deadline_ns = clock_deadline_ns(
		(int64_t)(q->timeout_ms ? q->timeout_ms : TIMEOUT_MS_DEFAULT));
	stream_open(a, &h->stream, &health_ops, id);

	int r = set_target(h, q, &err);
	if (r == 0)
		r = loop_add_timer(a->loop, DEADLINE_NONE, on_timer, h, &h->timer);
	if (r < 0)
		finish(h, r, err.text[0] ? err.text : strerror(-r));
	else if (a->workload == WORKLOAD_ENDED)
		fail_for_workload(h);
	else if (!q->health_http && !q->health_tcp && q->args.n == 0)
		finish(h, 0, NULL);
	else
		start_attempt(h);
}
