/* SPDX-License-Identifier: Apache-2.0 */
/* The control API: create, look at, pause and end sandboxes. */
#include <errno.h>
#include <mvm/instance.h>
#include <mvm/stream.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "access.h"
#include "base/clock.h"
#include "base/error.h"
#include "codec/json.h"
#include "e2b/e2b.h"
#include "e2b/envd.h"
#include "owned.h"
#include "request.h"
#include "server.h"

#define TIMEOUT_V1_S  15.0
#define TIMEOUT_V2_S  300.0
#define TIMEOUT_MAX_S (30.0 * 24 * 3600)
#define LOOKS	      2 /* at a VM that has ended, or that is just being started again */

void control_fail(struct request *rq, unsigned status, const struct mvm_error *err)
{
	AUTO_DONE(strbuf) text = { 0 };
	strbuf_adds(&text, err->text);
	if (err->code == -EOPNOTSUPP)
		status = 501;
	if (err->hint[0])
		strbuf_addf(&text, " (%s)", err->hint);
	request_reply_json(rq, status,
			   json_pack("{s:i, s:o}", "code", (int)status, "message",
				     envd_text(text.data ? text.data : "")));
}

/* ---- documents ---- */

json_t *control_document(const char *template_id, double timeout_s, struct mvm_error *err)
{
	char id[SANDBOX_ID_SIZE] = "i", token[SANDBOX_TOKEN_SIZE], traffic[SANDBOX_TOKEN_SIZE];
	double now_s = (double)clock_wall_ns() / 1e9;
	sandbox_random(id + 1, SANDBOX_RANDOM);
	sandbox_random(token, SANDBOX_TOKEN_SIZE - 1);
	sandbox_random(traffic, SANDBOX_TOKEN_SIZE - 1);
	json_t *doc = json_pack("{s:s, s:s, s:s, s:s, s:f, s:f}", "id", id, "template", template_id,
				"accessToken", token, "trafficToken", traffic, "startedAt", now_s,
				SANDBOX_END, now_s + timeout_s);
	if (!doc)
		mvm_error_oom(err);
	return doc;
}

json_t *control_sandbox(const json_t *doc)
{
	json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:n}", "templateID",
			      sandbox_text(doc, "template"), "sandboxID", sandbox_text(doc, "id"),
			      "clientID", "mvm", "envdVersion", ENVD_VERSION, "alias",
			      sandbox_text(doc, "template"), "domain");
	const char *token = sandbox_text(doc, "accessToken");
	if (token)
		json_object_set_new(o, "envdAccessToken", json_string(token));
	json_object_set(o, "trafficAccessToken",
			json_object_get(doc, "publicTraffic")
				? json_null()
				: json_object_get(doc, "trafficToken"));
	return o;
}

int control_seconds(const struct request *rq, const char *key, double *ret, struct mvm_error *err)
{
	const json_t *n = json_object_get(rq->json, key);
	if (!n || json_is_null(n))
		return 0;
	double s = json_number_value(n);
	if (!json_is_number(n) || s < 0)
		return mvm_error_set(err, -EINVAL, "'%s' must be a number of seconds", key);
	if (s > TIMEOUT_MAX_S)
		return mvm_error_set(err, -EINVAL, "'%s' is longer than 30 days", key);
	*ret = s;
	return 0;
}

static void put_seconds(json_t *o, const char *key, double s)
{
	char text[RFC3339_SIZE];
	clock_format((int64_t)s, text);
	json_object_set_new(o, key, json_string(text));
}

int control_with(struct request *rq, work_fn fn, enum work_class class, struct mvm_error *err)
{
	const char *id = request_arg(rq, 0);
	struct e2b *e = NULL;
	struct sandbox *s = NULL;
	int r = e2b_of(rq->server, &e, err);
	if (r == 0)
		r = sandbox_get(e, id, &s, err);
	if (r < 0)
		return r;
	rq->own = sandbox_copy(s);
	rq->own_free = (void (*)(void *))json_decref;
	return rq->own ? request_work(rq, class, fn, err) : mvm_error_oom(err);
}

/* Give the document another end. */
static int move_end(struct request *rq, json_t *doc, double end_s, struct mvm_error *err)
{
	struct e2b *e = rq->server->e2b;
	json_object_set_new(doc, SANDBOX_END, json_real(end_s));
	int r = sandbox_save(e, doc, err);
	if (r == 0)
		sandbox_post(e, sandbox_text(doc, "id"), json_deep_copy(doc));
	return r;
}

/* ---- create ---- */

/* The template's id in "name", "name:default", "team/name". */
static int template_of(const struct request *rq, char **ret, struct mvm_error *err)
{
	const char *ref = sandbox_text(rq->json, "templateID");
	if (!ref || !*ref)
		return mvm_error_set(err, -EINVAL, "'templateID' is missing");
	const char *slash = strrchr(ref, '/'), *name = slash ? slash + 1 : ref;
	size_t n = strcspn(name, ":");
	if (name[n] && strcmp(name + n, ":default") != 0 && strcmp(name + n, ":latest") != 0)
		return mvm_error_set(err, -ENOENT, "template '%s': mvm has no tags but 'default'",
				     ref);
	*ret = strndup(name, n);
	return *ret ? 0 : mvm_error_oom(err);
}

static int check_offered(const struct request *rq, struct mvm_error *err)
{
	static const char *const none[] = { "mcp", "iam" };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(none); i++) {
		const json_t *v = json_object_get(rq->json, none[i]);
		if (v && !json_is_null(v))
			return mvm_error_set(err, -EOPNOTSUPP, "mvm does not offer '%s'", none[i]);
	}
	if (json_array_size(json_object_get(rq->json, "volumeMounts")))
		return mvm_error_set(err, -EOPNOTSUPP, "mvm does not offer volumes here");
	return 0;
}

static int check_texts(const struct request *rq, const char *key, struct mvm_error *err)
{
	const char *name;
	json_t *value, *all = json_object_get(rq->json, key);
	if (all && !json_is_null(all) && !json_is_object(all))
		return mvm_error_set(err, -EINVAL, "'%s' must be an object of texts", key);
	json_object_foreach(all, name, value)
	{
		if (!json_is_string(value) || !*name || strchr(name, '='))
			return mvm_error_set(err, -EINVAL, "'%s' must be an object of texts", key);
	}
	return 0;
}

static int document_of(const struct request *rq, const char *template_id, json_t **ret,
		       struct mvm_error *err)
{
	static const char *const kept[] = { "metadata", "envVars", "network" };
	bool v2 = strncmp(rq->target, "/v2/", 4) == 0;
	double timeout_s = v2 ? TIMEOUT_V2_S : TIMEOUT_V1_S;
	int r = check_offered(rq, err);
	if (r == 0)
		r = control_seconds(rq, "timeout", &timeout_s, err);
	if (r == 0)
		r = check_texts(rq, "metadata", err);
	if (r == 0)
		r = check_texts(rq, "envVars", err);
	const bool resumes = json_is_true(
		json_object_get(json_object_get(rq->json, "autoResume"), "enabled"));
	if (r == 0 && resumes && json_is_false(json_object_get(rq->json, "autoPauseMemory")))
		r = mvm_error_set(err, -EINVAL,
				  "a sandbox that is paused without memory "
				  "cannot be resumed by a request");
	if (r < 0)
		return r;
	json_t *doc = control_document(template_id, timeout_s, err);
	if (!doc)
		return err->code;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(kept); i++) {
		json_t *v = json_object_get(rq->json, kept[i]);
		if (json_is_object(v))
			json_object_set(doc, kept[i], v);
	}
	if (!v2 && !json_is_true(json_object_get(rq->json, "secure")))
		json_object_del(doc, "accessToken");
	json_object_set_new(doc, "autoPause",
			    json_boolean(json_is_true(json_object_get(rq->json, "autoPause"))));
	if (json_is_false(json_object_get(rq->json, "autoPauseMemory")))
		json_object_set_new(doc, "autoPauseMemory", json_false());
	if (resumes) {
		json_object_set_new(doc, SANDBOX_AUTO_RESUME, json_true());
		json_object_set_new(doc, SANDBOX_AUTO_RESUME_S, json_real(timeout_s));
	}
	const json_t *internet = json_object_get(rq->json, "allow_internet_access");
	json_object_set_new(doc, "internet", json_boolean(!json_is_false(internet)));
	const json_t *network = json_object_get(doc, "network");
	if (!json_is_false(json_object_get(network, "allowPublicTraffic")))
		json_object_set_new(doc, "publicTraffic", json_true());
	*ret = doc;
	return 0;
}

static int nothing(void *arg, int64_t pid, const char *note)
{
	(void)arg, (void)pid, (void)note;
	return 0;
}

/* Refuse a guest whose agent keeps no commands: envd's calls need them. */
static int check_agent(struct mvm *mvm, const char *id, struct mvm_error *err)
{
	int r = mvm_exec_list(mvm, id, NULL, nothing, NULL, err);
	if (r != -EOPNOTSUPP)
		return r;
	mvm_error_set(err, r, "the agent in the template's snapshot is older than this mvm");
	return mvm_error_hint(err, r, "make it anew: mvm template build ID --snapshot");
}

/* The lease begins once the VM is up. */
static int begin_lease(struct e2b *e, json_t *doc, struct mvm_error *err)
{
	double timeout_s = json_number_value(json_object_get(doc, SANDBOX_END)) -
			   json_number_value(json_object_get(doc, "startedAt"));
	double now_s = (double)clock_wall_ns() / 1e9;
	json_object_set_new(doc, "startedAt", json_real(now_s));
	json_object_set_new(doc, SANDBOX_END, json_real(now_s + timeout_s));
	return sandbox_save(e, doc, err);
}

static int start(struct request *rq, struct e2b *e, struct mvm *mvm, json_t *doc,
		 struct mvm_error *err)
{
	struct mvm_start_options options = MVM_START_OPTIONS_INIT;
	struct mvm_instance *instance = NULL;
	AUTO_DONE(strv) allow = { 0 };
	AUTO_DONE(strv) deny = { 0 };
	const char *const labels[] = { "e2b", NULL };
	bool internet = json_is_true(json_object_get(doc, "internet"));

	int r = control_rules(json_object_get(doc, "network"), internet, &allow, &deny, err);
	if (r == 0 && allow.n)
		r = access_check_admin(rq, "'allowOut'", err);
	if (r < 0)
		return r;
	options.template_ref = sandbox_text(doc, "template");
	options.name = sandbox_text(doc, "id");
	options.keep_running = options.exec = true;
	options.labels = labels;
	options.network_allow = allow.n ? (const char *const *)allow.v : NULL;
	options.network_deny = deny.n ? (const char *const *)deny.v : NULL;
	r = owned_start(rq, mvm, &options, &instance, err);
	if (r == -ENOENT && str_eq(err->reason, "no-template"))
		return mvm_error_hint(err, r,
				      "see 'mvm template list'; the examples e2b-base and "
				      "e2b-code make those that the packages ask for");
	if (r < 0)
		return r;
	mvm_instance_close(instance);
	r = check_agent(mvm, options.name, err);
	if (r == 0 && json_object_get(doc, "autoPauseMemory"))
		r = sandbox_check_disk(mvm, options.name, err);
	if (r == 0)
		r = begin_lease(e, doc, err);
	if (r < 0)
		mvm_instance_remove(mvm, options.name, true, NULL, NULL); /* as if never started */
	return r;
}

static int create(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	struct e2b *e = NULL;
	AUTO_FREE char *template_id = NULL;
	AUTO_JSON json_t *doc = NULL;
	int r = e2b_of(rq->server, &e, err);
	if (r == 0)
		r = template_of(rq, &template_id, err);
	if (r == 0)
		r = document_of(rq, template_id, &doc, err);
	if (r == 0)
		r = sandbox_save(e, doc, err);
	if (r < 0)
		return r;
	r = start(rq, e, mvm, doc, err);
	if (r < 0) {
		sandbox_forget(e, sandbox_text(doc, "id"));
		return r;
	}
	sandbox_post(e, sandbox_text(doc, "id"), json_deep_copy(doc));
	return request_answer(rq, 201, control_sandbox(doc), err);
}

/* ---- look ---- */

json_t *control_info(const json_t *doc, const struct mvm_instance_info *info, bool detail)
{
	json_t *o = control_sandbox(doc);
	double end_s = json_number_value(json_object_get(doc, SANDBOX_END));
	/* one that has ended is on its disk: control_look() */
	bool paused = info->state == MVM_INSTANCE_SUSPENDED || sandbox_is_over(info) ||
		      json_object_get(doc, SANDBOX_ON_DISK);
	json_t *metadata = json_object_get(doc, "metadata");

	put_seconds(o, "startedAt", json_number_value(json_object_get(doc, "startedAt")));
	put_seconds(o, "endAt", end_s > 0 ? end_s : (double)clock_wall_ns() / 1e9);
	json_object_set_new(o, "cpuCount", json_integer(info->vcpus));
	json_object_set_new(o, "memoryMB", json_integer(info->mem_mib));
	json_object_set_new(o, "diskSizeMB",
			    json_integer((json_int_t)(sandbox_files_bytes(info) >> 20)));
	json_object_set_new(o, "state", json_string(paused ? "paused" : "running"));
	if (json_is_object(metadata))
		json_object_set(o, "metadata", metadata);
	if (!detail) {
		json_object_del(o, "envdAccessToken");
		json_object_del(o, "trafficAccessToken");
		return o;
	}
	const char *then = json_is_true(json_object_get(doc, "autoPause")) ? "pause" : "kill";
	json_object_set(o, "allowInternetAccess", json_object_get(doc, "internet"));
	json_object_set_new(o, "lifecycle",
			    json_pack("{s:b, s:s}", "autoResume",
				      json_is_true(json_object_get(doc, SANDBOX_AUTO_RESUME)),
				      "onTimeout", then));
	if (json_object_get(doc, "network"))
		json_object_set(o, "network", json_object_get(doc, "network"));
	return o;
}

int control_look(struct e2b *e, struct mvm *mvm, const json_t *doc, struct mvm_instance_info **ret,
		 struct mvm_error *err)
{
	const char *id = sandbox_text(doc, "id");
	bool ended = false, busy = false;
	int r = 0;

	for (int i = 0; i < LOOKS; i++) {
		r = mvm_instance_inspect(mvm, id, ret, err);
		ended = r == 0 && sandbox_is_over(*ret) && !sandbox_is_on_disk(e, doc);
		if (!ended)
			break;
		mvm_instance_info_free(TAKE_PTR(*ret));
		/* not by force: a change may have started it again since */
		busy = mvm_instance_remove(mvm, id, false, NULL, NULL) == -EBUSY;
		if (!busy)
			break;
	}
	if (!ended && r != -ENOENT)
		return r;
	if (!busy) { /* else the next look tries again */
		sandbox_forget(e, id);
		sandbox_post(e, id, NULL);
	}
	return mvm_error_set(err, -ENOENT, "sandbox '%s' has ended", id);
}

static int info(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	struct mvm_instance_info *info = NULL;
	int r = control_look(rq->server->e2b, mvm, rq->own, &info, err);
	if (r < 0)
		return r;
	/* with them one can do more than look */
	const bool secrets = rq->client.scope >= MVM_TOKEN_EXEC;
	json_t *o = control_info(rq->own, info, true);
	mvm_instance_info_free(info);
	if (!secrets) {
		json_object_del(o, "envdAccessToken");
		json_object_del(o, "trafficAccessToken");
	}
	return request_answer(rq, 200, o, err);
}

static int handle_info(struct request *rq, struct mvm_error *err)
{
	return control_with(rq, info, WORK_READ, err);
}

/* ---- change ---- */

static int kill_it(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	int r = sandbox_kill(rq->server->e2b, mvm, rq->own, err);
	return r < 0 ? r : request_answer(rq, 204, json_null(), err);
}

static int pause_it(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	bool memory = !json_is_false(json_object_get(rq->json, "memory"));
	int r = sandbox_pause(rq->server->e2b, mvm, rq->own, memory, err);
	return r < 0 ? r : request_answer(rq, 204, json_null(), err);
}

/* Let a paused one go on.  Its lease is written first: no VM runs without one.  Returns 1, or 0 if
 * it runs. */
static int wake(struct request *rq, struct mvm *mvm, const struct mvm_instance_info *info,
		double timeout_s, struct mvm_error *err)
{
	struct e2b *e = rq->server->e2b;
	json_t *doc = rq->own;
	const char *id = sandbox_text(doc, "id");
	struct mvm_instance *instance = NULL;
	const bool suspended = info->state == MVM_INSTANCE_SUSPENDED;

	if (!suspended && !sandbox_is_over(info))
		return 0;
	json_object_set_new(doc, SANDBOX_END, json_real((double)clock_wall_ns() / 1e9 + timeout_s));
	int r = sandbox_save(e, doc, err);
	if (r < 0)
		return r;
	r = suspended ? mvm_instance_resume(mvm, id, rq->progress, err)
		      : owned_start_again(rq, mvm, id, &instance, err);
	mvm_instance_close(instance);
	if (r >= 0)
		return 1;
	json_object_set_new(doc, SANDBOX_END, json_integer(0));
	sandbox_save(e, doc, NULL); /* else the next mvmd sees that it is paused */
	return r;
}

static int connect_it(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	bool v2 = strncmp(rq->target, "/v2/", 4) == 0;
	json_t *doc = rq->own;
	struct mvm_instance_info *info = NULL;
	double timeout_s = v2 ? TIMEOUT_V2_S : TIMEOUT_V1_S;
	int r = control_seconds(rq, "timeout", &timeout_s, err);
	if (r >= 0)
		r = control_look(rq->server->e2b, mvm, doc, &info, err);
	if (r >= 0 && json_object_get(doc, SANDBOX_ON_DISK) && !sandbox_is_over(info)) {
		/* an earlier mvmd has ended amid its stop */
		mvm_instance_info_free(TAKE_PTR(info));
		r = sandbox_stop(rq->server->e2b, mvm, doc, err);
		if (r >= 0)
			r = control_look(rq->server->e2b, mvm, doc, &info, err);
	}
	if (r < 0)
		return r;
	r = wake(rq, mvm, info, timeout_s, err);
	mvm_instance_info_free(info);
	if (r < 0)
		return r;
	const bool resumed = r;
	json_object_del(doc, SANDBOX_ON_DISK);
	double end_s = json_number_value(json_object_get(doc, SANDBOX_END));
	double wanted_s = (double)clock_wall_ns() / 1e9 + timeout_s;
	r = move_end(rq, doc, resumed || wanted_s > end_s ? wanted_s : end_s, err);
	if (r < 0 && resumed) /* it runs all the same, and ends with this lease */
		sandbox_post(rq->server->e2b, sandbox_text(doc, "id"), json_deep_copy(doc));
	return r < 0 ? r : request_answer(rq, resumed ? 201 : 200, control_sandbox(doc), err);
}

static int set_timeout(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	double s = -1;
	const char *key = json_object_get(rq->json, "timeout") ? "timeout" : "duration";
	(void)mvm;
	int r = control_seconds(rq, key, &s, err);
	if (r == 0 && s < 0)
		r = mvm_error_set(err, -EINVAL, "'timeout' is missing");
	if (r == 0 && json_number_value(json_object_get(rq->own, SANDBOX_END)) == 0)
		r = mvm_error_set(err, -ENOENT, "sandbox '%s' is paused", request_arg(rq, 0));
	if (r == 0)
		r = move_end(rq, rq->own, (double)clock_wall_ns() / 1e9 + s, err);
	return r < 0 ? r : request_answer(rq, 204, json_null(), err);
}

/* ---- the rest ---- */

#define WITH(fn, class)                                                                            \
	static int handle_##fn(struct request *rq, struct mvm_error *err)                          \
	{                                                                                          \
		return control_with(rq, fn, class, err);                                           \
	}
WITH(control_fork, WORK_START)
WITH(control_snapshot, WORK_BUILD)
WITH(control_metrics, WORK_READ)
#undef WITH

#define IN_TURN(fn, ends)                                                                          \
	static int handle_##fn(struct request *rq, struct mvm_error *err)                          \
	{                                                                                          \
		return control_change(rq, fn, ends, err);                                          \
	}
IN_TURN(connect_it, false)
IN_TURN(control_network, false)
IN_TURN(kill_it, true)
IN_TURN(pause_it, true)
IN_TURN(set_timeout, false)
#undef IN_TURN

static int not_offered(struct request *rq, struct mvm_error *err)
{
	return mvm_error_set(err, -EOPNOTSUPP, "mvm does not offer '%s %s'", rq->method,
			     rq->target);
}

#define GET(path, ...)                                                                             \
	{                                                                                          \
		.method = "GET", .pattern = path, .scope = SCOPE_READ, .fail = control_fail,       \
		.bare = true, __VA_ARGS__                                                          \
	}
#define CHANGE_AS(needed, verb, path, ...)                                                         \
	{                                                                                          \
		.method = verb, .pattern = path, .scope = needed, .body = true,                    \
		.fail = control_fail, .bare = true, __VA_ARGS__                                    \
	}
#define CHANGE(verb, path, ...) CHANGE_AS(SCOPE_EXEC, verb, path, __VA_ARGS__)
#define ADMIN(verb, path, ...)	CHANGE_AS(SCOPE_ADMIN, verb, path, __VA_ARGS__)
#define OTHER(verb, path)	CHANGE(verb, path, .handle = not_offered)

const struct route e2b_routes[] = {
	CHANGE("POST", "/sandboxes", .work = create, .class = WORK_START),
	CHANGE("POST", "/v2/sandboxes", .work = create, .class = WORK_START),
	GET("/sandboxes", .handle = control_list),
	GET("/v2/sandboxes", .handle = control_list),
	GET("/sandboxes/{sandboxID}", .handle = handle_info),
	CHANGE("DELETE", "/sandboxes/{sandboxID}", .handle = handle_kill_it),
	CHANGE("POST", "/sandboxes/{sandboxID}/connect", .handle = handle_connect_it),
	CHANGE("POST", "/v2/sandboxes/{sandboxID}/connect", .handle = handle_connect_it),
	CHANGE("POST", "/sandboxes/{sandboxID}/resume", .handle = handle_connect_it),
	CHANGE("POST", "/sandboxes/{sandboxID}/timeout", .handle = handle_set_timeout),
	CHANGE("POST", "/sandboxes/{sandboxID}/refreshes", .handle = handle_set_timeout),
	CHANGE("POST", "/sandboxes/{sandboxID}/pause", .handle = handle_pause_it),
	CHANGE("POST", "/sandboxes/{sandboxID}/fork", .handle = handle_control_fork),
	ADMIN("POST", "/sandboxes/{sandboxID}/snapshots", .handle = handle_control_snapshot),
	ADMIN("PUT", "/sandboxes/{sandboxID}/network", .handle = handle_control_network),
	GET("/sandboxes/{sandboxID}/metrics", .handle = handle_control_metrics),
	GET("/snapshots", .work = control_snapshots),
	ADMIN("DELETE", "/templates/{templateID}", .work = control_delete_template),
	OTHER("GET", "/templates"),
	OTHER("GET", "/v2/templates"),
	OTHER("GET", "/templates/*"),
	OTHER("POST", "/v3/templates"),
	OTHER("POST", "/v2/templates/*"),
	OTHER("POST", "/templates/*"),
	OTHER("DELETE", "/templates/*"),
	OTHER("GET", "/volumes"),
	OTHER("POST", "/volumes"),
	OTHER("GET", "/volumes/*"),
	OTHER("DELETE", "/volumes/*"),
	OTHER("GET", "/secrets"),
	OTHER("POST", "/secrets"),
	OTHER("GET", "/secrets/*"),
	OTHER("DELETE", "/secrets/*"),
	OTHER("PATCH", "/secrets/*"),
	{ 0 },
};
