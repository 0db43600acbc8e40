/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/instances: the table, and looking at instances. */
#include "v1/instances.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "v1/routes.h"
#include "v1/wait.h"

static json_t *info_json(const struct mvm_instance_info *info)
{
	return json_loads(info->json, 0, NULL);
}

int answer_instance(struct request *rq, struct mvm *mvm, unsigned status, const char *name,
		    struct mvm_error *err)
{
	struct mvm_instance_info *info = NULL;
	int r = mvm_instance_inspect(mvm, name, &info, err);
	if (r < 0)
		return r;
	json_t *o = info_json(info);
	mvm_instance_info_free(info);
	return request_answer(rq, status, o, err);
}

int word_of(const char *member, const char *text, const char *const *words, size_t n,
	    struct mvm_error *err)
{
	AUTO_DONE(strbuf) all = { 0 };
	for (size_t i = 0; i < n; i++) {
		if (!text || strcmp(text, words[i]) == 0)
			return (int)i;
		strbuf_addf(&all, "%s'%s'", i ? ", " : "", words[i]);
	}
	return mvm_error_set(err, -EINVAL, "body: %s: must be one of %s", member,
			     all.data ? all.data : "");
}

int query_state(const struct request *rq, struct mvm_error *err)
{
	const char *value = request_query(rq, "state");
	if (!value)
		return 0;
	for (int i = MVM_INSTANCE_STARTING; i <= MVM_INSTANCE_SUSPENDED; i++) {
		if (strcmp(value, mvm_instance_state_name((enum mvm_instance_state)i)) == 0)
			return 0;
	}
	return mvm_error_set(err, -EINVAL, "query parameter 'state' names no state");
}

static int query_health(const struct request *rq, struct mvm_error *err)
{
	static const char *const words[] = { "none", "starting", "healthy", "unhealthy" };
	const char *value = request_query(rq, "health");
	for (size_t i = 0; i < MVM_ARRAY_SIZE(words); i++) {
		if (!value || strcmp(value, words[i]) == 0)
			return 0;
	}
	return mvm_error_set(err, -EINVAL, "query parameter 'health' names no health");
}

/* ---- the list ---- */

/* Does an instance have a label "KEY", or "KEY=VALUE"? */
static bool has_label(const struct mvm_instance_info *info, const char *wanted)
{
	size_t len = strlen(wanted);
	for (const char *const *label = info->labels; *label; label++) {
		bool begins = strncmp(*label, wanted, len) == 0;
		if (begins && (!(*label)[len] || (!strchr(wanted, '=') && (*label)[len] == '=')))
			return true;
	}
	return false;
}

/* Does the query want this instance?  Each parameter may be given once more, and all must fit. */
static bool wanted(const struct request *rq, const struct mvm_instance_info *info)
{
	for (size_t i = 0; i < rq->n_params; i++) {
		const char *name = rq->params[i].name, *value = rq->params[i].value;
		if (strcmp(name, "state") == 0 &&
		    strcmp(value, mvm_instance_state_name(info->state)) != 0)
			return false;
		if (strcmp(name, "template") == 0 && !str_eq(value, info->template_id))
			return false;
		if (strcmp(name, "health") == 0 && !str_eq(value, info->health))
			return false;
		if (strcmp(name, "label") == 0 && !has_label(info, value))
			return false;
	}
	return true;
}

/* Instances by name, from the one after the query's `next` on, `limit` at most. */
static int list(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	struct mvm_instance_info **all = NULL;
	struct mvm_error unsettled = { 0 };
	size_t n = 0;
	uint64_t limit = 100;
	const char *after = request_query(rq, "next"), *last = NULL;
	int r = request_query_u64(rq, "limit", 1, 1000, &limit, err);
	if (r == 0)
		r = query_state(rq, err);
	if (r == 0)
		r = query_health(rq, err);
	if (r == 0) {
		/* what cannot be recorded, on a full disk say, can be shown all the same */
		mvm_instance_settle(mvm, rq->progress, &unsettled);
		r = mvm_instance_list(mvm, &all, &n, err);
	}
	if (r < 0)
		return r;
	json_t *o = json_array();
	for (size_t i = 0; i < n; i++) {
		if ((after && strcmp(all[i]->name, after) <= 0) || !wanted(rq, all[i]))
			continue;
		if (last && json_array_size(o) == limit) {
			rq->next = strdup(last);
			break;
		}
		last = all[i]->name;
		json_array_append_new(o, info_json(all[i]));
	}
	mvm_instance_list_free(all, n);
	return request_answer(rq, 200, o, err);
}

/* ---- one ---- */

static int inspect(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	return answer_instance(rq, mvm, 200, request_arg(rq, 0), err);
}

static int add_process(void *arg, const struct mvm_process *p)
{
	struct json_out out = { 0 };
	char state[2] = { p->state, '\0' };
	json_t *o = json_new(&out);
	json_put(&out, o, "pid", json_integer(p->pid));
	json_put(&out, o, "parent_pid", json_integer(p->parent_pid));
	json_put_u64(&out, o, "uid", p->uid);
	json_put_text(&out, o, "state", state);
	json_put(&out, o, "cpu_ns", json_integer(p->cpu_ns));
	json_put_u64(&out, o, "memory_bytes", p->memory_bytes);
	json_put_text(&out, o, "command", p->command);
	return json_array_append_new(arg, o) < 0 ? -ENOMEM : 0;
}

static int processes(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	AUTO_JSON json_t *o = json_array();
	int r = mvm_instance_processes(mvm, request_arg(rq, 0), rq->progress, add_process, o, err);
	return r < 0 ? r : request_answer(rq, 200, json_incref(o), err);
}

static int delete_it(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	bool force = false;
	int r = request_query_bool(rq, "force", &force, err);
	if (r < 0 || !mvm)
		return r;
	r = mvm_instance_remove(mvm, request_arg(rq, 0), force, rq->progress, err);
	return r < 0 ? r : request_answer(rq, 200, json_object(), err);
}

/* An action on one instance that is an operation: POST /v1/instances/{name}/ACTION. */
#define ACTION(action, fn)                                                                         \
	{                                                                                          \
		.method = "POST", .pattern = "/v1/instances/{name}/" action, .scope = SCOPE_EXEC,  \
		.work = (fn), .operation = "instance." action, .class = WORK_START,                \
		.checks = true, .body = true,                                                      \
	}

const struct route v1_instances_routes[] = {
	{ .method = "GET", .pattern = "/v1/instances", .scope = SCOPE_READ, .work = list },
	{ .method = "POST",
	  .pattern = "/v1/instances",
	  .scope = SCOPE_EXEC,
	  .work = work_start,
	  .operation = "instance.create",
	  .class = WORK_START,
	  .checks = true,
	  .body = true,
	  .needs_body = true },
	{ .method = "GET",
	  .pattern = "/v1/instances/{name}",
	  .scope = SCOPE_READ,
	  .work = inspect },
	{ .method = "DELETE",
	  .pattern = "/v1/instances/{name}",
	  .scope = SCOPE_EXEC,
	  .work = delete_it,
	  .operation = "instance.remove",
	  .class = WORK_START,
	  .checks = true },
	{ .method = "GET",
	  .pattern = "/v1/instances/{name}/processes",
	  .scope = SCOPE_READ,
	  .work = processes,
	  .class = WORK_GUEST },
	{ .method = "GET",
	  .pattern = "/v1/instances/{name}/wait",
	  .scope = SCOPE_READ,
	  .handle = handle_wait },
	{ .method = "PUT",
	  .pattern = "/v1/instances/{name}/network",
	  .scope = SCOPE_ADMIN,
	  .work = work_network,
	  .class = WORK_START,
	  .body = true,
	  .needs_body = true },
	{ .method = "PUT",
	  .pattern = "/v1/instances/{name}/ttl",
	  .scope = SCOPE_EXEC,
	  .work = work_ttl,
	  .class = WORK_START,
	  .body = true,
	  .needs_body = true },
	{ .method = "POST",
	  .pattern = "/v1/instances/{name}/rename",
	  .scope = SCOPE_EXEC,
	  .work = work_rename,
	  .class = WORK_START,
	  .body = true,
	  .needs_body = true },
	{ .method = "POST",
	  .pattern = "/v1/instances/{name}/kill",
	  .scope = SCOPE_EXEC,
	  .work = work_kill,
	  .class = WORK_START,
	  .body = true },
	ACTION("start", work_start_again),
	ACTION("restart", work_restart),
	ACTION("stop", work_stop),
	ACTION("pause", work_pause),
	ACTION("resume", work_resume),
	ACTION("suspend", work_suspend),
	ACTION("fork", work_fork),
	{ .method = "POST",
	  .pattern = "/v1/instances/{name}/commit",
	  .scope = SCOPE_ADMIN,
	  .work = work_commit,
	  .operation = "instance.commit",
	  .class = WORK_BUILD,
	  .checks = true,
	  .body = true,
	  .needs_body = true },
	{ 0 },
};
