/* SPDX-License-Identifier: Apache-2.0 */
/* Files of instances: look, list, remove, make folders, move.  The answers are gathered here. */
#include "v1/files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "codec/json.h"
#include "entry.h"
#include "server.h"
#include "v1/bytes.h"
#include "v1/routes.h"

#define WORDS_MAX 1024
#define LIST_MAX  10000
#define LIST_COST ((size_t)8 * 1024 * 1024) /* of a page, as guest_entry_cost() counts */

int file_start(struct request *rq, const char *const *command, const char *user, bool input,
	       struct mvm_exec **ret, struct mvm_error *err)
{
	struct mvm_exec_start_options options = MVM_EXEC_START_OPTIONS_INIT;
	options.command = command;
	options.user = user;
	options.input = input;
	options.files = true;
	return mvm_exec_start(rq->server->mvm, request_arg(rq, 0), &options, ret, err);
}

void file_add_words(struct strbuf *words, const struct mvm_exec_event *event)
{
	size_t room = WORDS_MAX - words->len;
	strbuf_add(words, event->data, event->len < room ? event->len : room);
}

int file_end(const struct mvm_exec_event *event, const struct strbuf *words, struct mvm_error *err)
{
	/* a guest must not choose any failure of the API's */
	static const int known[] = { ENOENT,	 EEXIST, EISDIR,    ENOTDIR,	  EINVAL,
				     ENOSPC,	 EFBIG,	 EROFS,	    EXDEV,	  ENOTEMPTY,
				     EOPNOTSUPP, EBUSY,	 ECANCELED, ENAMETOOLONG, EBADMSG,
				     ELOOP,	 ENXIO,	 ENODEV,    ETXTBSY };
	int code = EREMOTEIO;
	if (event->status == 0)
		return 0;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(known); i++) {
		if (!event->signal && event->status == known[i])
			code = known[i];
	}
	return mvm_error_set(err, -code, "in the guest: %s",
			     words->len ? words->data : "no reason given");
}

int file_path(const struct request *rq, const char **ret, struct mvm_error *err)
{
	*ret = request_query(rq, "path");
	if (*ret && **ret)
		return 0;
	return mvm_error_set(err, -EINVAL, "the query has no 'path'");
}

static const char *type_word(char type)
{
	switch (type) {
	case 'f':
		return "file";
	case 'd':
		return "folder";
	case 'l':
		return "link";
	default:
		return "other";
	}
}

ssize_t file_entry(const char *data, size_t len, json_t **ret, uint64_t *ret_size)
{
	struct json_out out = { 0 };
	char mode[8], time[RFC3339_SIZE];
	struct guest_entry e;

	ssize_t n = guest_entry_read(data, len, &e);
	if (n <= 0)
		return n;
	*ret_size = e.size;
	int64_t seconds = e.time_ns / NS_PER_S;
	snprintf(mode, sizeof(mode), "%04o", e.mode);
	json_t *o = json_new(&out);
	json_put(&out, o, "path", bytes_text(e.path, strlen(e.path)));
	json_put(&out, o, "name", bytes_text(e.name, strlen(e.name)));
	json_put_string(&out, o, "type", type_word(e.type));
	json_put_string(&out, o, "mode", mode);
	json_put_u64(&out, o, "size", e.size);
	if (seconds >= 0 && seconds < INT64_C(253402300800)) { /* the year 10000 */
		clock_format(seconds, time);
		json_put_string(&out, o, "modified_at", time);
	}
	json_put_text(&out, o, "owner", e.owner);
	json_put_text(&out, o, "group", e.group);
	if (e.target[0])
		json_put(&out, o, "target", bytes_text(e.target, strlen(e.target)));
	if (out.failed) {
		json_decref(o);
		o = NULL;
	}
	*ret = o;
	return n;
}

/* ---- calls whose answer is gathered ---- */

struct call {
	struct request *rq;
	struct guest *guest;
	struct strbuf out, words;
	json_t *entries; /* of a list; else NULL */
	json_t *entry;	 /* the last one of another call */
	char *after;	 /* the page begins after this path; NULL: it is the first */
	char *last;	 /* the path of the page's last entry */
	size_t limit, cost;
	unsigned status;
};

static void free_call(void *own)
{
	struct call *c = own;
	guest_close(c->guest);
	strbuf_done(&c->out);
	strbuf_done(&c->words);
	json_decref(c->entries);
	json_decref(c->entry);
	free(c->after);
	free(c->last);
	free(c);
}

static void fail(struct call *c, int code, const char *text)
{
	struct mvm_error err = { 0 };
	mvm_error_set(&err, code, "%s", text);
	request_fail(c->rq, &err);
	guest_close(c->guest);
	c->guest = NULL;
}

static void reply(struct call *c)
{
	json_t *o = c->entries ? c->entries : c->entry;
	if (!o)
		o = json_object();
	c->entries = c->entry = NULL;
	request_reply(c->rq, c->status, o);
	guest_close(c->guest);
	c->guest = NULL;
}

/* The agent lists each folder by name, and what is in a folder after it: which path comes first? */
static int compare_paths(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	int x = *a == '/' ? 1 : (unsigned char)*a * 2, y = *b == '/' ? 1 : (unsigned char)*b * 2;
	return x - y;
}

/* A path as `next` has it: its bytes may be no UTF-8, which a reply needs.  NULL: no memory. */
static char *escape(const char *path)
{
	AUTO_DONE(strbuf) b = { 0 };
	for (; *path; path++) {
		unsigned char c = (unsigned char)*path;
		if (c <= ' ' || c >= 0x7f || c == '%' || c == '+')
			strbuf_addf(&b, "%%%02x", c);
		else
			strbuf_add(&b, path, 1);
	}
	return b.failed ? NULL : strdup(b.data ? b.data : "");
}

/* Is the entry of an earlier page, whose last file may be gone by now? */
static bool is_before(const struct call *c, const char *path)
{
	return c->entries && c->after && compare_paths(path, c->after) <= 0;
}

/* Take an entry of a list, of this cost.  False: the page is full. */
static bool take_listed(struct call *c, const char *path, size_t cost, json_t *entry)
{
	c->cost += cost;
	if (!c->last || (json_array_size(c->entries) < c->limit && c->cost <= LIST_COST)) {
		json_array_append_new(c->entries, entry);
		free(c->last);
		c->last = strdup(path);
		return true;
	}
	json_decref(entry);
	c->rq->next = c->last ? escape(c->last) : NULL;
	return false;
}

static void take_output(struct call *c, const struct mvm_exec_event *event)
{
	size_t used = 0;
	strbuf_add(&c->out, event->data, event->len);
	while (!c->out.failed && used < c->out.len) {
		json_t *entry = NULL;
		struct guest_entry e;
		uint64_t size;
		ssize_t n = guest_entry_read(c->out.data + used, c->out.len - used, &e);
		if (n == 0)
			break;
		if (n > 0 && is_before(c, e.path)) {
			used += (size_t)n;
			continue;
		}
		if (n > 0)
			n = file_entry(c->out.data + used, (size_t)n, &entry, &size);
		if (n < 0 || !entry) {
			fail(c, n < 0 ? -EPROTO : -ENOMEM,
			     "the guest's agent sent a damaged entry");
			return;
		}
		const size_t cost = guest_entry_cost(c->out.data + used, (size_t)n);
		used += (size_t)n;
		if (!c->entries) {
			json_decref(c->entry);
			c->entry = entry;
		} else if (!take_listed(c, e.path, cost, entry)) {
			reply(c);
			return;
		}
	}
	strbuf_consume(&c->out, used);
}

static void on_event(void *arg, const struct mvm_exec_event *event)
{
	struct call *c = arg;
	struct mvm_error err = { 0 };
	if (event->kind == MVM_EXEC_STDOUT)
		take_output(c, event);
	else if (event->kind == MVM_EXEC_STDERR)
		file_add_words(&c->words, event);
	else if (event->kind == MVM_EXEC_EXITED && file_end(event, &c->words, &err) < 0)
		request_fail(c->rq, &err);
	else if (event->kind == MVM_EXEC_EXITED)
		reply(c);
}

static void on_failed(void *arg, const struct mvm_error *err)
{
	struct call *c = arg;
	request_fail(c->rq, err);
}

static const struct guest_ops ops = { .event = on_event, .failed = on_failed };

static int call(struct request *rq, const char *const *command, const char *user, unsigned status,
		struct call **ret, struct mvm_error *err)
{
	struct mvm_exec *exec = NULL;
	struct call *c = calloc(1, sizeof(*c));
	if (!c)
		return mvm_error_oom(err);
	c->rq = rq;
	c->status = status;
	int r = file_start(rq, command, user, false, &exec, err);
	if (r == 0)
		r = guest_new(rq->server->loop, exec, &ops, c, &c->guest, err);
	if (r < 0) {
		free(c);
		return r;
	}
	rq->own = c;
	rq->own_free = free_call;
	if (ret)
		*ret = c;
	return 0;
}

/* ---- routes ---- */

static int stat_file(struct request *rq, struct mvm_error *err)
{
	const char *path;
	int r = file_path(rq, &path, err);
	const char *const command[] = { "stat", path, NULL };
	return r < 0 ? r : call(rq, command, request_query(rq, "user"), 200, NULL, err);
}

static int list(struct request *rq, struct mvm_error *err)
{
	const char *path, *next = request_query(rq, "next");
	uint64_t depth = 1, limit = 1000;
	char text[24];
	struct call *c;

	int r = file_path(rq, &path, err);
	if (r == 0)
		r = request_query_u64(rq, "depth", 1, 64, &depth, err);
	if (r == 0)
		r = request_query_u64(rq, "limit", 1, LIST_MAX, &limit, err);
	if (r < 0)
		return r;
	snprintf(text, sizeof(text), "%llu", (unsigned long long)depth);
	const char *const command[] = { "list", path, text, NULL };
	json_t *entries = json_array();
	char *after = next ? strdup(next) : NULL;
	if (after && percent_decode(after) < 0) {
		free(after);
		json_decref(entries);
		return mvm_error_set(err, -EINVAL, "query parameter 'next' is no page's");
	}
	r = !entries || (next && !after)
		    ? mvm_error_oom(err)
		    : call(rq, command, request_query(rq, "user"), 200, &c, err);
	if (r < 0) {
		json_decref(entries);
		free(after);
		return r;
	}
	c->entries = entries;
	c->after = after;
	c->limit = (size_t)limit;
	return 0;
}

static int remove_file(struct request *rq, struct mvm_error *err)
{
	const char *path;
	int r = file_path(rq, &path, err);
	const char *const command[] = { "remove", path, NULL };
	return r < 0 ? r : call(rq, command, request_query(rq, "user"), 200, NULL, err);
}

/* A path of the body.  An empty one would mean the user's home. */
static int body_path(struct request *rq, const char *key, char **ret, struct mvm_error *err)
{
	int r = json_get_string(&rq->body, key, JSON_REQUIRED, ret, err);
	if (r < 0 || **ret)
		return r;
	return json_error(&rq->body, key, err, "expected a path");
}

static int make_folder(struct request *rq, struct mvm_error *err)
{
	static const char *const known[] = { "path", "user" };
	AUTO_FREE char *path = NULL, *user = NULL;
	int r = request_only(&rq->body, known, 2, err);
	if (r < 0)
		return r;
	r = body_path(rq, "path", &path, err);
	if (r >= 0)
		r = json_get_string(&rq->body, "user", JSON_NULLABLE, &user, err);
	const char *const command[] = { "mkdir", path, NULL };
	return r < 0 ? request_bad_body(r, err) : call(rq, command, user, 201, NULL, err);
}

static int move(struct request *rq, struct mvm_error *err)
{
	static const char *const known[] = { "from", "to", "user" };
	AUTO_FREE char *from = NULL, *to = NULL, *user = NULL;
	int r = request_only(&rq->body, known, 3, err);
	if (r < 0)
		return r;
	r = body_path(rq, "from", &from, err);
	if (r >= 0)
		r = body_path(rq, "to", &to, err);
	if (r >= 0)
		r = json_get_string(&rq->body, "user", JSON_NULLABLE, &user, err);
	const char *const command[] = { "move", from, to, NULL };
	return r < 0 ? request_bad_body(r, err) : call(rq, command, user, 200, NULL, err);
}

#define FILES "/v1/instances/{name}/files"

const struct route v1_files_routes[] = {
	{ .method = "DELETE", .pattern = FILES, .scope = SCOPE_EXEC, .handle = remove_file },
	{ .method = "GET", .pattern = FILES "/stat", .scope = SCOPE_EXEC, .handle = stat_file },
	{ .method = "GET", .pattern = FILES "/list", .scope = SCOPE_EXEC, .handle = list },
	{ .method = "POST",
	  .pattern = FILES "/mkdir",
	  .scope = SCOPE_EXEC,
	  .handle = make_folder,
	  .body = true,
	  .needs_body = true },
	{ .method = "POST",
	  .pattern = FILES "/move",
	  .scope = SCOPE_EXEC,
	  .handle = move,
	  .body = true,
	  .needs_body = true },
	{ 0 },
};
