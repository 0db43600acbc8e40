/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /files: one file as the whole body, or several in multipart/form-data.
 *
 * The guest's agent writes them, one after another.  While it is slow, no more of the body is
 * taken.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

#include "base/error.h"
#include "codec/json.h"
#include "e2b/envd.h"
#include "e2b/files.h"
#include "e2b/metadata.h"
#include "e2b/multipart.h"
#include "request.h"
#include "server.h"

#define UNZIP_STEP   1024u /* of zipped bytes, which become a megabyte at most */
#define FILES_MAX    1024u
#define GZIP_WINDOWS (15 + 16)

struct upload {
	struct sandbox_use use;
	struct request *rq;
	struct sandbox *sandbox; /* while `use` is linked */
	char user[USER_MAX];
	bool multipart, zipped;
	struct multipart parts;
	z_stream zip;
	struct mvm_exec *exec; /* writes a file; NULL: none is under way */
	struct loop_source *source;
	struct strbuf hold;	/* contents that the agent has not taken */
	bool ending;		/* after `hold` the file is whole */
	bool blocked;		/* the body waits */
	bool whole;		/* the body has come */
	struct strbuf metadata; /* lines, of each file */
	struct strbuf out, text;
	json_t *entries;
	struct mvm_error err; /* code 0: none */
};

static void close_file(struct upload *u)
{
	loop_source_free(u->source);
	u->source = NULL;
	mvm_exec_close(u->exec);
	u->exec = NULL;
	u->ending = false;
}

static void free_upload(void *own)
{
	struct upload *u = own;
	close_file(u);
	sandbox_unuse(&u->use);
	if (u->zipped)
		inflateEnd(&u->zip);
	multipart_done(&u->parts);
	strbuf_done(&u->hold);
	strbuf_done(&u->out);
	strbuf_done(&u->text);
	strbuf_done(&u->metadata);
	json_decref(u->entries);
	free(u);
}

/* Let the body go on, or reply once it has come. */
static void go_on(struct upload *u)
{
	if (u->whole) {
		if (u->err.code)
			request_fail(u->rq, &u->err);
		else
			request_reply_json(u->rq, 200, json_incref(u->entries));
	} else if (u->blocked) {
		u->blocked = false;
		request_more(u->rq);
	}
}

static void fail(struct upload *u)
{
	files_say_why(&u->err);
	close_file(u);
	go_on(u);
}

static void on_drop(struct sandbox_use *use)
{
	struct upload *u = (struct upload *)use;
	mvm_error_set(&u->err, -EHOSTDOWN, "the sandbox has gone");
	fail(u);
}

/* The agent is done with a file. */
static void take_end(struct upload *u, int status)
{
	json_t *entry = NULL;
	if (status != 0) {
		files_agent_failed(status, &u->text, &u->err);
		fail(u);
		return;
	}
	if (!u->ending || u->hold.len > 0) {
		mvm_error_set(&u->err, -EPROTO, "the guest took a part of the file only");
		fail(u);
		return;
	}
	if (guest_entry_json(u->out.data, u->out.len, &entry) <= 0) {
		mvm_error_set(&u->err, -EPROTO, "the guest's answer is damaged");
		fail(u);
		return;
	}
	json_array_append_new(u->entries,
			      json_pack("{s:O, s:O, s:s, s:O*}", "path",
					json_object_get(entry, "path"), "name",
					json_object_get(entry, "name"), "type", "file", "metadata",
					json_object_get(entry, "metadata")));
	json_decref(entry);
	close_file(u);
	go_on(u);
}

/* Give the agent what waits.  0 or -errno. */
static int flush(struct upload *u)
{
	while (u->hold.len > 0) {
		int n = mvm_exec_write(u->exec, u->hold.data, u->hold.len, &u->err);
		if (n == -EPIPE) { /* its end says why */
			u->err.code = 0;
			return 0;
		}
		if (n <= 0)
			return n;
		strbuf_consume(&u->hold, (size_t)n);
	}
	return u->ending ? mvm_exec_close_stdin(u->exec, &u->err) : 0;
}

static void on_exec(void *arg, uint32_t events)
{
	struct upload *u = arg;
	const struct mvm_exec_event *e;
	int r;

	(void)events;
	while ((r = mvm_exec_read(u->exec, &e, &u->err)) == MVM_STREAM_ITEM) {
		if (e->kind == MVM_EXEC_STDOUT && u->out.len < 65536)
			strbuf_add(&u->out, e->data, e->len);
		if (e->kind == MVM_EXEC_STDERR && u->text.len < 1024)
			strbuf_add(&u->text, e->data, e->len);
		if (e->kind == MVM_EXEC_EXITED) {
			take_end(u, e->signal ? EIO : e->status);
			return;
		}
	}
	if (r >= 0)
		r = flush(u);
	if (r >= 0)
		r = loop_source_set_events(u->source, (uint32_t)mvm_exec_events(u->exec));
	if (r < 0) {
		fail(u);
		return;
	}
	if (u->hold.len == 0 && !u->ending && !u->whole)
		go_on(u);
}

/* Begin to write a file. */
static int open_file(struct upload *u, const char *path, struct mvm_error *err)
{
	strbuf_done(&u->out);
	strbuf_done(&u->text);
	if (json_array_size(u->entries) >= FILES_MAX)
		return mvm_error_set(err, -EFBIG, "more than %u files in one request", FILES_MAX);
	if (!u->use.link)
		return mvm_error_set(err, -EHOSTDOWN, "the sandbox has gone");
	const char *metadata = u->metadata.data ? u->metadata.data : "";
	int r = files_start(u->rq, u->sandbox, path, u->user, metadata, &u->exec, err);
	if (r == 0 && loop_add_fd(u->rq->server->loop, mvm_exec_fd(u->exec),
				  (uint32_t)mvm_exec_events(u->exec), on_exec, u, &u->source) < 0)
		r = mvm_error_oom(err);
	return r;
}

/* Contents for the file that is being written. */
static int put(struct upload *u, const char *data, size_t len, struct mvm_error *err)
{
	strbuf_add(&u->hold, data, len);
	if (u->hold.failed)
		return mvm_error_oom(err);
	int r = u->exec ? flush(u) : 0;
	if (r < 0)
		*err = u->err;
	else if (u->exec &&
		 loop_source_set_events(u->source, (uint32_t)mvm_exec_events(u->exec)) < 0)
		r = mvm_error_oom(err);
	return r;
}

static int end_file(struct upload *u, struct mvm_error *err)
{
	u->ending = true;
	return put(u, "", 0, err);
}

/* Does the body have to wait? */
static bool is_busy(const struct upload *u)
{
	return u->hold.len > 0 || u->ending;
}

static int take_zipped(struct upload *u, const char *data, size_t *len, struct mvm_error *err)
{
	char plain[16384];
	size_t used = 0;
	while (used < *len && !is_busy(u)) {
		size_t n = *len - used < UNZIP_STEP ? *len - used : UNZIP_STEP;
		u->zip.next_in = (Bytef *)(uintptr_t)(data + used);
		u->zip.avail_in = (uInt)n;
		do {
			u->zip.next_out = (Bytef *)plain;
			u->zip.avail_out = sizeof(plain);
			int z = inflate(&u->zip, Z_NO_FLUSH);
			if (z != Z_OK && z != Z_STREAM_END && z != Z_BUF_ERROR)
				return mvm_error_set(err, -EINVAL, "the body is no gzip");
			int r = put(u, plain, sizeof(plain) - u->zip.avail_out, err);
			if (r < 0)
				return r;
			if (z == Z_STREAM_END)
				u->zip.avail_in = 0; /* what follows counts nothing */
		} while (u->zip.avail_out == 0);
		used += n;
	}
	*len = used;
	return 0;
}

static int take_parts(struct upload *u, const char *data, size_t *len, struct mvm_error *err)
{
	struct multipart_event e;
	size_t used = 0;
	int r = 0;
	while (r == 0 && used < *len && !is_busy(u)) {
		size_t n = *len - used;
		r = multipart_next(&u->parts, data + used, &n, &e, err);
		if (r < 0)
			break;
		used += n;
		if (e.kind == MULTIPART_PART) {
			const char *path = request_query(u->rq, "path");
			path = path && *path ? path : u->parts.filename;
			r = path && *path ? open_file(u, path, err)
					  : mvm_error_set(err, -EINVAL, "a file has no path");
		} else if (e.kind == MULTIPART_DATA) {
			r = put(u, e.data, e.len, err);
		} else if (e.kind == MULTIPART_PART_END) {
			r = end_file(u, err);
		} else if (e.kind == MULTIPART_END) {
			used = *len;
		}
	}
	*len = used;
	return r;
}

int files_upload(struct request *rq, const char *data, size_t *len, struct mvm_error *err)
{
	struct upload *u = rq->own;
	size_t all = *len;
	int r = 0;
	if (u->err.code) {
		*err = u->err;
		return err->code;
	}
	if (is_busy(u))
		*len = 0;
	else if (u->multipart)
		r = take_parts(u, data, len, err);
	else if (u->zipped)
		r = take_zipped(u, data, len, err);
	else
		r = put(u, data, *len, err);
	u->blocked = *len < all;
	return r;
}

int files_begin(struct request *rq, struct mvm_error *err)
{
	const char *type = request_header(rq, "Content-Type");
	const char *encoding = request_header(rq, "Content-Encoding");
	const char *path = request_query(rq, "path");
	struct sandbox *s = NULL;
	struct upload *u = calloc(1, sizeof(*u));
	if (!u)
		return mvm_error_oom(err);
	u->rq = rq;
	u->entries = json_array();
	rq->own = u;
	rq->own_free = free_upload;
	int r = files_find(rq, true, &s, u->user, err);
	if (r == 0)
		r = metadata_of(rq, &u->metadata, err);
	if (r < 0)
		return r;
	u->sandbox = s;
	sandbox_use(s, &u->use, on_drop);
	u->multipart = !type || strncasecmp(type, "application/octet-stream", 24) != 0;
	if (u->multipart)
		return multipart_init(&u->parts, type, err);
	if (encoding && strcasecmp(encoding, "gzip") == 0) {
		if (inflateInit2(&u->zip, GZIP_WINDOWS) != Z_OK)
			return mvm_error_oom(err);
		u->zipped = true;
	} else if (encoding && strcasecmp(encoding, "identity") != 0) {
		return mvm_error_set(err, -EINVAL, "the encoding '%s' is not known", encoding);
	}
	if (!path || !*path)
		return mvm_error_set(err, -EINVAL, "the query has no 'path'");
	return open_file(u, path, err);
}

int files_post(struct request *rq, struct mvm_error *err)
{
	struct upload *u = rq->own;
	int r = u->err.code;
	if (r < 0)
		*err = u->err;
	else if (u->multipart && u->parts.state != AT_END)
		r = mvm_error_set(err, -EINVAL, "the body ends within a part");
	else if (!u->multipart && u->exec)
		r = end_file(u, err);
	if (r < 0)
		return r;
	u->whole = true;
	if (!u->exec)
		go_on(u);
	return 0;
}
