/* SPDX-License-Identifier: Apache-2.0 */
#include "kept.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "command.h"
#include "files.h"
#include "net/agent.h"
#include "net/wire.h"
#include "pipes.h"
#include "stream.h"
#include "viewer.h"

#define PIECE_MAX	  (32768u - FRAME_HEADER_SIZE - 1) /* as in exec.c */
#define TERMINAL_LEFT_MAX 65536u
#define RUNNING_MAX	  256u
#define ENDED_MAX	  32u /* ends that a late viewer may still ask for */
#define LIST_MAX	  (FRAME_PAYLOAD_MAX - 4096u) /* leaves room for one more note */

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
	kept_close_stdin(k);
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

void kept_trim(struct agent *a)
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

static void on_output(void *arg, uint32_t events)
{
	struct output *o = arg;
	(void)events;
	pump_output(o);
	kept_settle(o->kept);
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

void kept_settle(struct kept *k)
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
	kept_close_stdin(k);
	loop_source_free(TAKE_PTR(k->timer));
	command_sweep(k->agent);
	if (!k->viewers)
		kept_trim(k->agent); /* k may be gone */
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
	kept_settle(k);
}

static void on_timeout(void *arg)
{
	struct kept *k = arg;
	if (!k->exited)
		command_kill(k->agent, k->cgroup, &k->child);
}

/* Start, attach, list ---------------------------------------------------------------------- */

static void reply_started(struct agent *a, uint32_t id, const struct kept *k)
{
	AUTO_DONE(strbuf) results = { 0 };
	wire_put_u64(&results, FIELD_PID, (uint64_t)k->pid);
	wire_put_u64(&results, FIELD_TTY, k->tty);
	wire_put_u64(&results, FIELD_ENDED, k->exited);
	wire_put_u64(&results, FIELD_INPUT_ENDED, !kept_takes_input(k));
	stream_reply(a, id, 0, NULL, &results);
}

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
		r = viewer_add(a, k, id);
	if (r < 0) {
		if (k)
			free_kept(k);
		stream_reply(a, id, r, err.text[0] ? err.text : "out of memory", NULL);
		return;
	}
	reply_started(a, id, k);
	kept_settle(k);
}

void kept_attach(struct agent *a, uint32_t id, const struct request *q)
{
	struct kept *found = NULL;
	for (struct kept *k = a->kept; k; k = k->next) {
		if ((uint64_t)k->pid == q->pid)
			found = k; /* the last one: pids come again */
	}
	int r = found ? viewer_add(a, found, id) : -ENOENT;
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
