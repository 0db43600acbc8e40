/* SPDX-License-Identifier: Apache-2.0 */
/* The log of an operation: its work's progress, one JSON object a line, and the streams that follow
 * it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "operation_own.h"
#include "request.h"
#include "server.h"

#define LOG_BYTES_MAX ((size_t)1024 * 1024) /* of progress; then the rest is left out */
#define UPDATE_NS     (100 * NS_PER_MS)	    /* between two reports of one step */

/* A line for the log, on its way from the worker to the loop. */
struct news {
	struct work work;
	struct operation *op;
	char *line;
};

static json_t *progress_json(const struct mvm_progress_event *event)
{
	static const char *const kinds[] = { "begin", "update", "end", "failed", "note" };
	struct json_out out = { 0 };
	json_t *o = json_new(&out);

	json_put_string(&out, o, "event", kinds[event->kind]);
	json_put_text(&out, o, "text", event->text);
	if (event->detail)
		json_put_text(&out, o, "detail", event->detail);
	if (event->done_bytes)
		json_put_u64(&out, o, "done_bytes", event->done_bytes);
	if (event->total_bytes)
		json_put_u64(&out, o, "total_bytes", event->total_bytes);
	if (event->kind == MVM_PROGRESS_END || event->kind == MVM_PROGRESS_FAILED)
		json_put_u64(&out, o, "elapsed_ms", (uint64_t)(event->elapsed_ns / NS_PER_MS));
	if (!out.failed)
		return o;
	json_decref(o);
	return NULL;
}

static void serve_follower(struct follower *f)
{
	const struct operation *op = f->op;
	while (f->sent < op->log.len && stream_room(f->stream) > 0) {
		size_t n = op->log.len - f->sent, room = stream_room(f->stream);
		n = n < room ? n : room;
		if (stream_write(f->stream, op->log.data + f->sent, n) < 0)
			return;
		f->sent += n;
	}
	if (f->sent == op->log.len && op->state != OPERATION_RUNNING && !f->ended) {
		f->ended = true;
		stream_write_json(f->stream, json_pack("{s:s, s:o*}", "event", "operation",
						       "operation", operation_json(op)));
		stream_end(f->stream);
	}
}

void operation_serve_followers(struct operation *op)
{
	for (struct follower *f = op->followers, *next; f; f = next) {
		next = f->next;
		serve_follower(f);
	}
}

static void add_line(struct operation *op, const char *line)
{
	if (op->log.len + strlen(line) < LOG_BYTES_MAX) {
		strbuf_adds(&op->log, line);
		strbuf_adds(&op->log, "\n");
	}
	operation_serve_followers(op);
}

static void take_news(struct work *work)
{
	struct news *news = (struct news *)work; /* its first member */
	add_line(news->op, news->line);
	free(news->line);
	free(news);
}

int operation_on_progress(void *arg, const struct mvm_progress_event *event)
{
	struct operation *op = arg;
	int64_t now = clock_now_ns();

	if (event->kind > MVM_PROGRESS_NOTE)
		return 0;
	if (event->kind == MVM_PROGRESS_UPDATE && now - op->reported_ns < UPDATE_NS)
		return 0;
	op->reported_ns = now;
	json_t *value = progress_json(event);
	struct news *news = calloc(1, sizeof(*news));
	char *line = value ? json_dumps(value, JSON_COMPACT) : NULL;
	json_decref(value);
	if (!news || !line) {
		free(news);
		free(line);
		return 0;
	}
	*news = (struct news){ .work.done = take_news, .op = op, .line = line };
	workers_post(op->all->server->workers[op->rq->route->class], &news->work);
	return 0;
}

static void follower_room(void *arg)
{
	serve_follower(arg);
}

static void follower_closed(void *arg)
{
	struct follower *f = arg;
	struct follower **link = &f->op->followers;
	while (*link != f)
		link = &(*link)->next;
	*link = f->next;
	free(f);
}

int operation_follow(struct operation *op, struct request *rq, struct mvm_error *err)
{
	static const struct stream_ops ops = { .room = follower_room, .closed = follower_closed };
	struct follower *f = calloc(1, sizeof(*f));
	if (!f)
		return mvm_error_oom(err);
	f->op = op;
	int r = stream_open(rq, 200, "application/x-ndjson", &ops, f, &f->stream, err);
	if (r < 0) {
		free(f);
		return r;
	}
	f->next = op->followers;
	op->followers = f;
	serve_follower(f);
	return 0;
}
