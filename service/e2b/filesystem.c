/* SPDX-License-Identifier: Apache-2.0 */
/* filesystem.Filesystem: the calls that are answered once. */
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "codec/json.h"
#include "e2b/envd.h"
#include "entry.h"
#include "request.h"
#include "server.h"

#define ENTRIES_COST_MAX ((size_t)16 * 1024 * 1024) /* of an answer (entry.h) */

static const char *name_of(const struct request *rq)
{
	return strrchr(rq->target, '/') + 1;
}

/* All entries of an output. */
static int entries_of(const struct strbuf *out, json_t **ret, struct mvm_error *err)
{
	AUTO_JSON json_t *all = json_array();
	json_t *one = NULL;
	size_t cost = 0;
	for (size_t at = 0; at < out->len;) {
		ssize_t n = guest_entry_json(out->data + at, out->len - at, &one);
		if (n <= 0)
			return mvm_error_set(err, -EPROTO, "the guest's answer is damaged");
		json_array_append_new(all, one);
		cost += guest_entry_cost(out->data + at, (size_t)n);
		if (cost > ENTRIES_COST_MAX)
			return mvm_error_set(err, -EFBIG, "the answer is too large");
		at += (size_t)n;
	}
	*ret = TAKE_PTR(all);
	return 0;
}

static void on_done(void *arg, int status, struct strbuf *out, const char *text)
{
	struct request *rq = arg;
	struct mvm_error err = { 0 };
	const char *name = name_of(rq);
	json_t *all = NULL;
	int r = status == 0 ? entries_of(out, &all, &err)
			    : mvm_error_set(&err, -status, "%s", text[0] ? text : strerror(status));
	json_t *first = json_array_get(all, 0);

	if (r < 0) {
		request_fail(rq, &err);
	} else if (strcmp(name, "Remove") == 0) {
		request_reply_json(rq, 200, json_object());
	} else if (strcmp(name, "ListDir") == 0) {
		request_reply_json(rq, 200, json_pack("{s:O}", "entries", all));
	} else if (first) {
		request_reply_json(rq, 200, json_pack("{s:O}", "entry", first));
	} else {
		mvm_error_set(&err, -EPROTO, "the guest's answer is damaged");
		request_fail(rq, &err);
	}
	json_decref(all);
	request_unref(rq);
}

/* The verb of the guest's agent and its arguments for a call. */
static int command_of(const struct request *rq, const json_t *message, char depth[16],
		      const char *ret[4], struct mvm_error *err)
{
	static const char *const verbs[][2] = {
		{ "Stat", "stat" },
		{ "MakeDir", "mkdir" },
		{ "ListDir", "list" },
		{ "Remove", "remove" },
	};
	const char *name = name_of(rq);
	const char *path = sandbox_text(message, "path");
	if (strcmp(name, "Move") == 0) {
		ret[0] = "move";
		ret[1] = sandbox_text(message, "source");
		ret[2] = sandbox_text(message, "destination");
		return ret[1] && ret[2] ? 0 : mvm_error_set(err, -EINVAL, "a path is missing");
	}
	json_int_t n = 0;
	json_whole(json_object_get(message, "depth"), &n);
	snprintf(depth, 16, "%lld", n > 0 && n < 10000 ? (long long)n : 1);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(verbs); i++) {
		if (strcmp(name, verbs[i][0]) == 0)
			ret[0] = verbs[i][1];
	}
	ret[1] = path ? path : "";
	if (strcmp(name, "ListDir") == 0)
		ret[2] = depth;
	return 0;
}

int filesystem_call(struct request *rq, struct mvm_error *err)
{
	struct envd_call *call = rq->own;
	const char *command[4] = { NULL };
	char depth[16];
	struct sandbox *s = NULL;
	int r = envd_take(rq, false, err);
	if (r == 0)
		r = envd_sandbox(rq, false, &s, err);
	if (r == 0)
		r = command_of(rq, call->json, depth, command, err);
	if (r == 0)
		r = guest_files(rq, s, command, call->user, on_done, rq, err);
	if (r == 0)
		request_ref(rq);
	return r;
}
