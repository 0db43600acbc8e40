/* SPDX-License-Identifier: Apache-2.0 */
/* Changes in a folder of an instance, as they happen. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "server.h"
#include "v1/bytes.h"
#include "v1/files.h"
#include "v1/lines.h"
#include "v1/routes.h"

#define EVENT_MAX 8192 /* a word and a path */

struct watch {
	struct request *rq;
	struct guest *guest;
	struct lines lines; /* .stream NULL: it has not begun */
	struct strbuf in, words;
};

static void free_watch(void *own)
{
	struct watch *w = own;
	guest_close(w->guest);
	strbuf_done(&w->in);
	strbuf_done(&w->words);
	free(w);
}

static void on_room(void *arg)
{
	struct watch *w = arg;
	guest_resume(w->guest);
}

static void on_closed(void *arg)
{
	struct watch *w = arg;
	guest_close(w->guest);
	w->guest = NULL;
	w->lines.stream = NULL;
}

static const struct stream_ops stream_ops = { .room = on_room, .closed = on_closed };

static void fail(struct watch *w, const struct mvm_error *err)
{
	if (w->lines.stream)
		lines_fail(&w->lines, err);
	else
		request_fail(w->rq, err);
}

/* Tell a change: its word, and the name below the folder. */
static void tell(struct watch *w, const char *word, const char *name)
{
	struct mvm_error err = { 0 };
	if (!w->lines.stream && lines_open(w->rq, &stream_ops, w, &w->lines, &err) < 0) {
		request_fail(w->rq, &err);
		return;
	}
	lines_put(&w->lines, json_pack("{s:o, s:o}", "event", bytes_text(word, strlen(word)),
				       "name", bytes_text(name, strlen(name))));
	if (stream_room(w->lines.stream) == 0)
		guest_pause(w->guest);
}

static void take(struct watch *w, const struct mvm_exec_event *event)
{
	size_t used = 0;
	strbuf_add(&w->in, event->data, event->len);
	while (!w->in.failed && used < w->in.len) {
		const char *word = w->in.data + used;
		size_t left = w->in.len - used;
		const char *name = memchr(word, 0, left);
		const char *end = name ? memchr(name + 1, 0, left - (size_t)(name + 1 - word))
				       : NULL;
		if (!end)
			break;
		tell(w, word, name + 1);
		used += (size_t)(end + 1 - word);
	}
	strbuf_consume(&w->in, used);
	if (w->in.failed || w->in.len > EVENT_MAX) {
		struct mvm_error err = { 0 };
		mvm_error_set(&err, -EPROTO, "the guest's agent sent a damaged event");
		fail(w, &err);
		guest_pause(w->guest);
	}
}

static void on_event(void *arg, const struct mvm_exec_event *event)
{
	struct watch *w = arg;
	struct mvm_error err = { 0 };
	if (event->kind == MVM_EXEC_STDOUT) {
		take(w, event);
	} else if (event->kind == MVM_EXEC_STDERR) {
		file_add_words(&w->words, event);
	} else if (event->kind == MVM_EXEC_EXITED) {
		if (file_end(event, &w->words, &err) == 0)
			mvm_error_set(&err, -EREMOTEIO, "the watch has ended");
		fail(w, &err);
	}
}

static void on_failed(void *arg, const struct mvm_error *err)
{
	fail(arg, err);
}

static const struct guest_ops ops = { .event = on_event, .failed = on_failed };

static int watch_folder(struct request *rq, struct mvm_error *err)
{
	struct mvm_exec *exec = NULL;
	bool recursive = false;
	const char *path;

	int r = file_path(rq, &path, err);
	if (r == 0)
		r = request_query_bool(rq, "recursive", &recursive, err);
	if (r < 0)
		return r;
	AUTO_FREE struct watch *w = calloc(1, sizeof(*w));
	if (!w)
		return mvm_error_oom(err);
	const char *const command[] = { "watch", path, recursive ? "recursive" : NULL, NULL };
	r = file_start(rq, command, request_query(rq, "user"), false, &exec, err);
	if (r == 0)
		r = guest_new(rq->server->loop, exec, &ops, w, &w->guest, err);
	if (r < 0)
		return r;
	w->rq = rq;
	rq->own = TAKE_PTR(w);
	rq->own_free = free_watch;
	return 0;
}

const struct route v1_files_watch_routes[] = {
	{ .method = "GET",
	  .pattern = "/v1/instances/{name}/files/watch",
	  .scope = SCOPE_EXEC,
	  .handle = watch_folder },
	{ 0 },
};
