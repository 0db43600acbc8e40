/* SPDX-License-Identifier: Apache-2.0 */
/* The contents of files, and tars of folders, both ways.  They are never gathered here. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "codec/json.h"
#include "range.h"
#include "server.h"
#include "stream.h"
#include "v1/files.h"
#include "v1/routes.h"

/* ---- out of the guest ---- */

struct download {
	struct request *rq;
	struct guest *guest;
	struct stream *stream;
	struct strbuf head, words;
	bool is_tar;
	struct range range;
	uint64_t left; /* bytes of the reply to come, if its size is known */
	bool sized;
};

static void free_download(void *own)
{
	struct download *d = own;
	guest_close(d->guest);
	strbuf_done(&d->head);
	strbuf_done(&d->words);
	free(d);
}

static void on_room(void *arg)
{
	struct download *d = arg;
	guest_resume(d->guest);
}

static void on_closed(void *arg)
{
	struct download *d = arg;
	guest_close(d->guest);
	d->guest = NULL;
	d->stream = NULL;
}

static const struct stream_ops stream_ops = { .room = on_room, .closed = on_closed };

static void refuse(struct download *d, int code, const char *text)
{
	struct mvm_error err = { 0 };
	mvm_error_set(&err, code, "%s", text);
	request_fail(d->rq, &err);
	guest_close(d->guest);
	d->guest = NULL;
}

static void send(struct download *d, const char *data, size_t len)
{
	if (!d->stream || len == 0)
		return;
	if (d->sized && len > d->left)
		len = (size_t)d->left; /* the agent sends no more than it said */
	d->left -= d->sized ? len : 0;
	stream_write(d->stream, data, len);
	if (stream_room(d->stream) == 0)
		guest_pause(d->guest);
}

/* Reply with the part of a file of this size that the client asked for. */
static int open_reply(struct download *d, uint64_t size, struct mvm_error *err)
{
	char range[96];
	uint64_t from;

	request_add_header(d->rq, "Accept-Ranges", "bytes");
	if (size == 0 && !d->range.given) /* empty, or a file of /proc */
		return stream_open(d->rq, 200, "application/octet-stream", &stream_ops, d,
				   &d->stream, err);
	d->sized = true;
	d->left = size;
	if (!d->range.given)
		return stream_open_sized(d->rq, 200, "application/octet-stream", size, &stream_ops,
					 d, &d->stream, err);
	if (!range_within(&d->range, size, &from, &d->left)) {
		snprintf(range, sizeof(range), "bytes */%llu", (unsigned long long)size);
		request_add_header(d->rq, "Content-Range", range);
		return mvm_error_set(err, -ERANGE, "the file has %llu bytes",
				     (unsigned long long)size);
	}
	snprintf(range, sizeof(range), "bytes %llu-%llu/%llu", (unsigned long long)from,
		 (unsigned long long)(from + d->left - 1), (unsigned long long)size);
	request_add_header(d->rq, "Content-Range", range);
	return stream_open_sized(d->rq, 206, "application/octet-stream", d->left, &stream_ops, d,
				 &d->stream, err);
}

/* The agent's entry comes before the contents. */
static void take_head(struct download *d, const struct mvm_exec_event *event)
{
	struct mvm_error err = { 0 };
	json_t *entry = NULL;
	uint64_t size = 0;

	strbuf_add(&d->head, event->data, event->len);
	ssize_t n = d->head.failed ? -EPROTO : file_entry(d->head.data, d->head.len, &entry, &size);
	json_decref(entry);
	if (n == 0)
		return;
	if (n < 0) {
		refuse(d, -EPROTO, "the guest's agent sent a damaged entry");
		return;
	}
	if (open_reply(d, size, &err) < 0) {
		request_fail(d->rq, &err);
		guest_close(d->guest);
		d->guest = NULL;
		return;
	}
	send(d, d->head.data + n, d->head.len - (size_t)n);
	strbuf_done(&d->head);
	d->head = (struct strbuf){ 0 };
}

static void end(struct download *d, const struct mvm_exec_event *event)
{
	struct mvm_error err = { 0 };
	int r = file_end(event, &d->words, &err);
	if (!d->stream && r == 0)
		refuse(d, -EPROTO, "the guest's agent sent nothing");
	else if (!d->stream)
		request_fail(d->rq, &err);
	else if (r < 0 || (d->sized && d->left > 0))
		stream_abort(d->stream);
	else
		stream_end(d->stream);
}

static void on_event(void *arg, const struct mvm_exec_event *event)
{
	struct download *d = arg;
	struct mvm_error err = { 0 };
	switch (event->kind) {
	case MVM_EXEC_STARTED:
		break;
	case MVM_EXEC_STDOUT:
		if (d->is_tar && !d->stream &&
		    stream_open(d->rq, 200, "application/x-tar", &stream_ops, d, &d->stream, &err) <
			    0)
			request_fail(d->rq, &err);
		if (d->stream)
			send(d, event->data, event->len);
		else
			take_head(d, event);
		break;
	case MVM_EXEC_STDERR:
		file_add_words(&d->words, event);
		break;
	case MVM_EXEC_EXITED:
		end(d, event);
		break;
	}
}

static void on_failed(void *arg, const struct mvm_error *err)
{
	struct download *d = arg;
	if (d->stream)
		stream_abort(d->stream);
	else
		request_fail(d->rq, err);
}

static const struct guest_ops download_ops = { .event = on_event, .failed = on_failed };

/* d: taken over once this has succeeded */
static int begin_download(struct request *rq, struct mvm_exec *exec, struct download **d,
			  struct mvm_error *err)
{
	(*d)->rq = rq;
	int r = guest_new(rq->server->loop, exec, &download_ops, *d, &(*d)->guest, err);
	if (r < 0)
		return r;
	rq->own = TAKE_PTR(*d);
	rq->own_free = free_download;
	return 0;
}

static int read_file(struct request *rq, struct mvm_error *err)
{
	char offset[24] = "", length[24] = "";
	struct mvm_exec *exec = NULL;
	const char *path;

	int r = file_path(rq, &path, err);
	if (r < 0)
		return r;
	AUTO_FREE struct download *d = calloc(1, sizeof(*d));
	if (!d)
		return mvm_error_oom(err);
	range_parse(request_header(rq, "Range"), &d->range);
	if (d->range.given)
		snprintf(offset, sizeof(offset), "%s%llu", d->range.from_end ? "-" : "",
			 (unsigned long long)d->range.from);
	if (d->range.length)
		snprintf(length, sizeof(length), "%llu", (unsigned long long)d->range.length);
	const char *const command[] = { "read", path, offset, length[0] ? length : NULL, NULL };
	r = file_start(rq, command, request_query(rq, "user"), false, &exec, err);
	return r < 0 ? r : begin_download(rq, exec, &d, err);
}

static int read_tar(struct request *rq, struct mvm_error *err)
{
	struct mvm_exec *exec = NULL;
	const char *path;

	int r = file_path(rq, &path, err);
	if (r < 0)
		return r;
	AUTO_FREE struct download *d = calloc(1, sizeof(*d));
	if (!d)
		return mvm_error_oom(err);
	d->is_tar = true;
	r = mvm_tar_read(rq->server->mvm, request_arg(rq, 0), path, &exec, err);
	return r < 0 ? r : begin_download(rq, exec, &d, err);
}

/* ---- into the guest ---- */

struct upload {
	struct request *rq;
	struct guest *guest;
	struct strbuf out, words;
	bool waits; /* the last piece was not taken whole */
	bool all;   /* the client has sent all */
	bool over;
};

static void free_upload(void *own)
{
	struct upload *u = own;
	guest_close(u->guest);
	strbuf_done(&u->out);
	strbuf_done(&u->words);
	free(u);
}

static void go_on(void *arg)
{
	struct upload *u = arg;
	if (u->waits) {
		u->waits = false;
		request_more(u->rq);
	}
	if (u->all)
		guest_end_input(u->guest, NULL); /* -EAGAIN: again when there is room */
}

static void finish(struct upload *u, const struct mvm_error *err)
{
	json_t *entry = NULL;
	uint64_t size;

	u->over = true;
	if (!err && u->out.len)
		file_entry(u->out.data, u->out.len, &entry, &size); /* none: an object */
	if (err)
		request_fail(u->rq, err);
	else
		request_reply(u->rq, 200, entry ? entry : json_object());
	if (u->waits)
		request_more(u->rq);
}

static void on_upload_event(void *arg, const struct mvm_exec_event *event)
{
	struct upload *u = arg;
	struct mvm_error err = { 0 };
	if (event->kind == MVM_EXEC_STDOUT && u->out.len < (size_t)64 * 1024)
		strbuf_add(&u->out, event->data, event->len);
	else if (event->kind == MVM_EXEC_STDERR)
		file_add_words(&u->words, event);
	else if (event->kind == MVM_EXEC_EXITED) {
		int r = file_end(event, &u->words, &err);
		if (r == -EBADMSG) /* what is damaged is the body */
			err.code = -EINVAL;
		finish(u, r < 0 ? &err : NULL);
	}
}

static void on_upload_failed(void *arg, const struct mvm_error *err)
{
	finish(arg, err);
}

static const struct guest_ops upload_ops = { .event = on_upload_event,
					     .failed = on_upload_failed,
					     .room = go_on };

static int begin_upload(struct request *rq, struct mvm_exec *exec, struct mvm_error *err)
{
	struct upload *u = calloc(1, sizeof(*u));
	if (!u) {
		mvm_exec_close(exec);
		return mvm_error_oom(err);
	}
	u->rq = rq;
	int r = guest_new(rq->server->loop, exec, &upload_ops, u, &u->guest, err);
	if (r < 0) {
		free(u);
		return r;
	}
	rq->own = u;
	rq->own_free = free_upload;
	return 0;
}

static int write_begin(struct request *rq, struct mvm_error *err)
{
	const char *path, *mode = request_query(rq, "mode");
	struct mvm_exec *exec = NULL;

	int r = file_path(rq, &path, err);
	if (r == 0 && mode && (!*mode || strlen(mode) > 4 || mode[strspn(mode, "01234567")]))
		r = mvm_error_set(err, -EINVAL, "mode: expected an octal number, as in 0644");
	const char *const command[] = { "write", path, mode ? mode : "", "whole", NULL };
	if (r == 0)
		r = file_start(rq, command, request_query(rq, "user"), true, &exec, err);
	return r < 0 ? r : begin_upload(rq, exec, err);
}

static int tar_begin(struct request *rq, struct mvm_error *err)
{
	struct mvm_exec *exec = NULL;
	const char *path;

	int r = file_path(rq, &path, err);
	if (r == 0)
		r = mvm_tar_write(rq->server->mvm, request_arg(rq, 0), path, &exec, err);
	return r < 0 ? r : begin_upload(rq, exec, err);
}

static int take_piece(struct request *rq, const char *data, size_t *len, struct mvm_error *err)
{
	struct upload *u = rq->own;
	struct mvm_error ignored;
	int n = guest_write(u->guest, data, *len, &ignored);

	(void)err;
	if (n < 0) /* why comes with its end */
		n = 0;
	u->waits = (size_t)n < *len;
	*len = (size_t)n;
	return 0;
}

static int take_end(struct request *rq, struct mvm_error *err)
{
	struct upload *u = rq->own;
	(void)err;
	u->all = true;
	if (!u->over)
		go_on(u);
	return 0;
}

#define FILES "/v1/instances/{name}/files"
#define TAR   "/v1/instances/{name}/tar"

const struct route v1_files_data_routes[] = {
	{ .method = "GET", .pattern = FILES, .scope = SCOPE_EXEC, .handle = read_file },
	{ .method = "PUT",
	  .pattern = FILES,
	  .scope = SCOPE_EXEC,
	  .begin = write_begin,
	  .upload = take_piece,
	  .handle = take_end },
	{ .method = "GET", .pattern = TAR, .scope = SCOPE_EXEC, .handle = read_tar },
	{ .method = "PUT",
	  .pattern = TAR,
	  .scope = SCOPE_EXEC,
	  .begin = tar_begin,
	  .upload = take_piece,
	  .handle = take_end },
	{ 0 },
};
