/* SPDX-License-Identifier: Apache-2.0 */
#include "net/qmp.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "base/sock.h"
#include "base/str.h"
#include "net/qmp_message.h"

#define CALLS_MAX 64u

/* A command, from being queued until its reply has been handed out. */
struct call {
	struct call *next;
	int64_t id;
	const char *command;
	char *text; /* bytes to write, from sent on; NULL once all are written */
	size_t len, sent;
	int pass_fd; /* -1: none, or sent */
	bool done, cancelled;
	json_t *result; /* done: the value, or NULL and refusal */
	char *refusal;
};

enum state { WAIT_GREETING, WAIT_CAPABILITIES, READY, DEAD };

struct qmp {
	struct loop *loop;
	struct loop_source *source;
	int fd;
	enum state state;
	struct mvm_error death; /* why, once DEAD */
	struct call *calls;	/* oldest first */
	size_t n_calls;
	int64_t last_id, capabilities_id;
	struct strbuf in;
	size_t scanned; /* bytes of in known to hold no line end */
	qmp_event_fn on_event;
	void *on_event_arg;
};

static void call_free(struct call *c)
{
	if (c->pass_fd >= 0)
		close(c->pass_fd); /* a duplicate that was not sent */
	json_decref(c->result);
	free(c->refusal);
	free(c->text);
	free(c);
}

static void unlink_call(struct qmp *q, struct call *call)
{
	for (struct call **p = &q->calls; *p; p = &(*p)->next) {
		if (*p != call)
			continue;
		*p = call->next;
		q->n_calls--;
		call_free(call);
		return;
	}
}

static struct call *find_call(struct qmp *q, int64_t id)
{
	for (struct call *c = q->calls; c; c = c->next) {
		if (c->id == id)
			return c;
	}
	return NULL;
}

static void die(struct qmp *q, const struct mvm_error *why)
{
	if (q->state == DEAD)
		return;
	q->state = DEAD;
	q->death = *why;
	loop_source_free(TAKE_PTR(q->source));
}

static void die_of(struct qmp *q, int code, const char *what)
{
	struct mvm_error why;
	mvm_error_set(&why, code, "%s", what);
	die(q, &why);
}

static void die_of_errno(struct qmp *q, const char *what, int code)
{
	struct mvm_error why;
	mvm_error_set(&why, -EREMOTEIO, "%s the control connection: %s", what, strerror(-code));
	die(q, &why);
}

static int write_call(struct qmp *q, struct call *c)
{
	while (c->sent < c->len) {
		if (c->pass_fd >= 0) {
			/* the descriptor travels with the first byte */
			int r = sock_send_fd(q->fd, c->text, 1, c->pass_fd);
			if (r < 0)
				return r;
			close(TAKE_FD(c->pass_fd));
			c->sent = 1;
			continue;
		}
		ssize_t n = send(q->fd, c->text + c->sent, c->len - c->sent, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		c->sent += (size_t)n;
	}
	free(TAKE_PTR(c->text));
	return 0;
}

/* Write the queue in order as far as the kernel takes it. */
static void flush_calls(struct qmp *q)
{
	uint32_t events = EPOLLIN;
	for (struct call *c = q->calls; c && q->state != DEAD; c = c->next) {
		int r = c->text ? write_call(q, c) : 0;
		if (r == -EAGAIN) {
			events |= EPOLLOUT;
			break;
		}
		if (r == -EPIPE || r == -ECONNRESET)
			return; /* reading will report it, after the peer's last words */
		if (r < 0)
			die_of_errno(q, "cannot write to", r);
	}
	if (q->state == DEAD)
		return;
	int r = loop_source_set_events(q->source, events);
	if (r < 0)
		die_of_errno(q, "cannot watch", r);
}

static void on_reply(struct qmp *q, const struct qmp_message *m)
{
	struct call *c = find_call(q, m->id);
	if (!c || c->done || c->text) {
		struct mvm_error why;
		mvm_error_set(&why, -EPROTO, "QEMU sent a reply without a command: %.200s",
			      m->text ? m->text : "return");
		die(q, &why);
		return;
	}
	if (m->kind == QMP_KIND_RETURN)
		c->result = json_incref(m->data);
	else if (!(c->refusal = strdup(m->text)))
		die_of(q, -ENOMEM, "out of memory");
	c->done = true;
	if (c->id == q->capabilities_id) {
		if (c->refusal)
			die_of(q, -EPROTO, "QEMU refused to negotiate capabilities");
		else if (q->state == WAIT_CAPABILITIES)
			q->state = READY;
		c->cancelled = true; /* nobody waits for it */
	}
	if (c->cancelled)
		unlink_call(q, c);
}

static void on_line(struct qmp *q, const char *line, size_t len)
{
	AUTO_DONE(qmp_message) m = { 0 };
	struct mvm_error err;
	if (qmp_message_parse(line, len, &m, &err) < 0) {
		die(q, &err);
		return;
	}
	bool greeting = m.kind == QMP_KIND_GREETING;
	if (greeting != (q->state == WAIT_GREETING))
		die_of(q, -EPROTO, greeting ? "QEMU greeted twice" : "QEMU did not greet");
	else if (greeting)
		q->state = WAIT_CAPABILITIES;
	else if (m.kind != QMP_KIND_EVENT)
		on_reply(q, &m);
	else if (q->on_event)
		q->on_event(q->on_event_arg, m.text, m.data);
}

/* Hand out the whole lines that have arrived. */
static void split_lines(struct qmp *q)
{
	size_t start = 0;
	while (q->state != DEAD) {
		size_t from = start > q->scanned ? start : q->scanned;
		const char *end = memchr(q->in.data + from, '\n', q->in.len - from);
		if (!end)
			break;
		size_t line_end = (size_t)(end - q->in.data);
		if (line_end - start > 1) /* skip "\r\n" alone */
			on_line(q, q->in.data + start, line_end - start);
		start = line_end + 1;
	}
	if (q->state == DEAD)
		return;
	strbuf_consume(&q->in, start);
	q->scanned = q->in.len;
	if (q->in.len > QMP_LINE_MAX)
		die_of(q, -EPROTO, "QEMU sent a message of more than 1 MiB");
}

void qmp_process(struct qmp *q)
{
	char chunk[16384];
	/* a limit, so that a peer that never stops does not starve the loop's other sources */
	for (int i = 0; q->state != DEAD && i < 64; i++) {
		ssize_t n = recv(q->fd, chunk, sizeof(chunk), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n == 0 || (n < 0 && errno == ECONNRESET)) {
			die_of(q, -EREMOTEIO, "QEMU closed its control connection");
			return;
		}
		if (n < 0) {
			die_of_errno(q, "cannot read from", -errno);
			return;
		}
		strbuf_add(&q->in, chunk, (size_t)n);
		if (q->in.failed)
			die_of(q, -ENOMEM, "out of memory");
		else
			split_lines(q);
	}
}

static void on_socket(void *arg, uint32_t events)
{
	struct qmp *q = arg;
	if (events & ~(uint32_t)EPOLLOUT)
		qmp_process(q);
	if (q->state != DEAD && (events & EPOLLOUT))
		flush_calls(q);
}

int qmp_new(struct loop *loop, int fd, qmp_event_fn fn, void *arg, struct qmp **ret)
{
	AUTO(qmp) q = calloc(1, sizeof(*q));
	if (!q)
		return -ENOMEM;
	q->fd = -1;
	q->loop = loop;
	q->on_event = fn;
	q->on_event_arg = arg;

	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	int r = loop_add_fd(loop, fd, EPOLLIN, on_socket, q, &q->source);
	if (r < 0)
		return r;
	q->fd = fd;
	r = qmp_send(q, "qmp_capabilities", NULL, -1, &q->capabilities_id, NULL);
	if (r < 0) {
		q->fd = -1; /* stays the caller's */
		return r;
	}
	*ret = TAKE_PTR(q);
	return 0;
}

void qmp_free(struct qmp *q)
{
	if (!q)
		return;
	loop_source_free(q->source);
	while (q->calls)
		unlink_call(q, q->calls);
	strbuf_done(&q->in);
	if (q->fd >= 0)
		close(q->fd);
	free(q);
}

bool qmp_is_dead(const struct qmp *q)
{
	return q->state == DEAD;
}

static int report_death(const struct qmp *q, struct mvm_error *err)
{
	return mvm_error_set(err, q->death.code, "%s", q->death.text);
}

static int turn(struct qmp *q, int64_t deadline_ns, const char *what, struct mvm_error *err)
{
	int r = loop_run_once(q->loop, deadline_ns);
	if (r == -ETIMEDOUT)
		return mvm_error_set(err, r, "QEMU did not answer %s in time", what);
	if (r < 0)
		return mvm_error_set(err, r, "cannot wait for QEMU: %s", strerror(-r));
	return 0;
}

int qmp_wait_ready(struct qmp *q, int64_t deadline_ns, struct mvm_error *err)
{
	while (q->state != READY) {
		if (q->state == DEAD)
			return report_death(q, err);
		int r = turn(q, deadline_ns, "at all", err);
		if (r < 0 && q->state != READY)
			return r;
	}
	return 0;
}

static char *command_text(const char *command, json_t *args, int64_t id)
{
	json_t *root = args ? json_pack("{s:s, s:O, s:I}", "execute", command, "arguments", args,
					"id", (json_int_t)id)
			    : json_pack("{s:s, s:I}", "execute", command, "id", (json_int_t)id);
	/* short, because QEMU reads it byte by byte */
	char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
	json_decref(root);
	return text;
}

static int new_call(struct qmp *q, const char *command, json_t *args, int pass_fd,
		    struct call **ret, struct mvm_error *err)
{
	struct call *c = calloc(1, sizeof(*c));
	if (!c)
		return mvm_error_oom(err);
	c->id = q->last_id + 1;
	c->command = command;
	c->pass_fd = -1;
	c->text = command_text(command, args, c->id);
	if (!c->text) {
		call_free(c);
		return mvm_error_oom(err);
	}
	c->len = strlen(c->text);
	if (pass_fd >= 0 && (c->pass_fd = fcntl(pass_fd, F_DUPFD_CLOEXEC, 3)) < 0) {
		int r = -errno;
		call_free(c);
		return mvm_error_set(err, r, "cannot pass a descriptor to QEMU: %s", strerror(-r));
	}
	*ret = c;
	return 0;
}

int qmp_send(struct qmp *q, const char *command, json_t *args, int pass_fd, int64_t *ret_id,
	     struct mvm_error *err)
{
	struct call *c = NULL;
	int r = 0;
	if (q->state == DEAD)
		r = report_death(q, err);
	else if (q->n_calls >= CALLS_MAX)
		r = mvm_error_set(err, -EBUSY, "too many commands wait for QEMU");
	else
		r = new_call(q, command, args, pass_fd, &c, err);
	json_decref(args);
	if (r < 0)
		return r;

	struct call **end = &q->calls;
	while (*end)
		end = &(*end)->next;
	*end = c;
	q->n_calls++;
	q->last_id = c->id;
	*ret_id = c->id;
	flush_calls(q);
	return 0;
}

/* Hand out the reply of a finished call, and free the call. */
static int take_reply(struct qmp *q, struct call *c, json_t **ret, struct mvm_error *err)
{
	int r = 0;
	if (c->refusal)
		r = mvm_error_set(err, -EREMOTEIO, "QEMU refused %s: %s", c->command, c->refusal);
	else if (ret)
		*ret = TAKE_PTR(c->result);
	unlink_call(q, c);
	return r;
}

int qmp_wait(struct qmp *q, int64_t id, int64_t deadline_ns, json_t **ret, struct mvm_error *err)
{
	for (;;) {
		struct call *c = find_call(q, id);
		if (c && c->done)
			return take_reply(q, c, ret, err);
		if (q->state == DEAD)
			return report_death(q, err);
		if (!c)
			return mvm_error_set(err, -EINVAL, "no command %lld waits for QEMU",
					     (long long)id);
		int r = turn(q, deadline_ns, c->command, err);
		if (r == 0)
			continue;
		c = find_call(q, id);
		if (c && c->done)
			return take_reply(q, c, ret, err); /* the reply came with the deadline */
		if (c)
			c->cancelled = true;
		return r;
	}
}

int qmp_call(struct qmp *q, const char *command, json_t *args, int pass_fd, int64_t deadline_ns,
	     json_t **ret, struct mvm_error *err)
{
	int64_t id = 0;
	int r = qmp_send(q, command, args, pass_fd, &id, err);
	return r < 0 ? r : qmp_wait(q, id, deadline_ns, ret, err);
}
