/* SPDX-License-Identifier: Apache-2.0 */
/* The control API's other calls: forks, snapshots, metrics, rules for the network. */
#include <errno.h>
#include <mvm/build.h>
#include <mvm/instance.h>
#include <mvm/network.h>
#include <mvm/store.h>
#include <mvm/suspend.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "codec/json.h"
#include "e2b/e2b.h"
#include "owned.h"
#include "request.h"
#include "server.h"

#define FORKS_MAX	20
#define SNAPSHOT_PREFIX "snap"

/* ---- network ---- */

static int add_rules(json_t *list, struct strv *to, struct mvm_error *err)
{
	size_t i;
	json_t *item;
	if (list && !json_is_null(list) && !json_is_array(list))
		return mvm_error_set(err, -EINVAL, "a list of rules must be an array");
	json_array_foreach(list, i, item)
	{
		const char *rule = json_string_value(item);
		if (!rule)
			return mvm_error_set(err, -EINVAL, "a rule must be a text");
		if (strcmp(rule, "0.0.0.0/0") == 0 || strcmp(rule, "::/0") == 0)
			rule = "all";
		int r = mvm_network_rule_check(rule, err);
		if (r < 0)
			return r;
		strv_add(to, rule);
	}
	return to->failed ? mvm_error_oom(err) : 0;
}

int control_rules(json_t *network, bool internet, struct strv *allow, struct strv *deny,
		  struct mvm_error *err)
{
	static const char *const none[] = { "maskRequestHost", "egressProxy", "rules" };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(none); i++) {
		const json_t *v = json_object_get(network, none[i]);
		if (json_is_object(v) || json_is_string(v) || json_array_size(v))
			return mvm_error_set(err, -EOPNOTSUPP, "mvm does not offer '%s'", none[i]);
	}
	int r = add_rules(json_object_get(network, "allowOut"), allow, err);
	if (r == 0)
		r = add_rules(json_object_get(network, "denyOut"), deny, err);
	if (!internet)
		strv_add(deny, "all");
	return r;
}

int control_network(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	struct mvm_network_options options = MVM_NETWORK_OPTIONS_INIT;
	AUTO_DONE(strv) allow = { 0 };
	AUTO_DONE(strv) deny = { 0 };
	json_t *doc = rq->own;
	const json_t *internet = json_object_get(rq->json, "allow_internet_access");
	int r = control_rules(rq->json, !json_is_false(internet), &allow, &deny, err);
	if (r < 0)
		return r;
	options.allow = allow.n ? (const char *const *)allow.v : NULL;
	options.deny = deny.n ? (const char *const *)deny.v : NULL;
	r = mvm_instance_set_network(mvm, sandbox_text(doc, "id"), &options, rq->progress, err);
	if (r < 0)
		return r;
	json_object_set(doc, "network", rq->json);
	json_object_set_new(doc, "internet", json_boolean(!json_is_false(internet)));
	r = sandbox_save(rq->server->e2b, doc, err);
	if (r == 0)
		sandbox_post(rq->server->e2b, sandbox_text(doc, "id"), json_deep_copy(doc));
	return r < 0 ? r : request_answer(rq, 204, json_null(), err);
}

/* ---- metrics ---- */

/* One sample, of this moment.  Memory and disk are what the VM takes of this host. */
static json_t *sample(const struct mvm_instance_info *info, double cpu)
{
	char text[RFC3339_SIZE];
	int64_t now_s = clock_wall_ns() / NS_PER_S;
	uint64_t used = info->memory_private_bytes + info->memory_shared_bytes;
	uint64_t total = (uint64_t)info->mem_mib << 20;
	clock_format(now_s, text);
	return json_pack("{s:s, s:I, s:i, s:f, s:I, s:I, s:I, s:I, s:I}", "timestamp", text,
			 "timestampUnix", (json_int_t)now_s, "cpuCount", (int)info->vcpus,
			 "cpuUsedPct", cpu, "memUsed", (json_int_t)(used < total ? used : total),
			 "memTotal", (json_int_t)total, "memCache", (json_int_t)0, "diskUsed",
			 (json_int_t)info->disk_bytes, "diskTotal",
			 (json_int_t)sandbox_files_bytes(info));
}

int control_metrics(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	struct mvm_instance_info *info = NULL;
	uint64_t start = 0, end = UINT64_MAX >> 2, now_s = (uint64_t)(clock_wall_ns() / NS_PER_S);
	int r = request_query_u64(rq, "start", 0, UINT64_MAX >> 2, &start, err);
	if (r >= 0)
		r = request_query_u64(rq, "end", 0, UINT64_MAX >> 2, &end, err);
	if (r >= 0)
		r = mvm_instance_inspect(mvm, sandbox_text(rq->own, "id"), &info, err);
	if (r < 0)
		return r;
	double alive_s = (double)clock_wall_ns() / 1e9 -
			 json_number_value(json_object_get(rq->own, "startedAt"));
	double cpu = alive_s > 0 ? (double)info->cpu_ns / 1e7 / alive_s : 0;
	json_t *all = json_array();
	if (start <= now_s && now_s <= end && info->state == MVM_INSTANCE_RUNNING)
		json_array_append_new(all, sample(info, cpu));
	mvm_instance_info_free(info);
	return request_answer(rq, 200, all, err);
}

/* ---- forks ---- */

static int fork_one(struct request *rq, struct mvm *mvm, double timeout_s, json_t **ret,
		    struct mvm_error *err)
{
	struct mvm_fork_options options = MVM_FORK_OPTIONS_INIT;
	struct e2b *e = rq->server->e2b;
	struct mvm_instance *instance = NULL;
	const json_t *from = rq->own;
	AUTO_JSON json_t *doc = control_document(sandbox_text(from, "template"), timeout_s, err);
	static const char *const kept[] = { "metadata",		 "envVars",
					    "network",		 "internet",
					    "autoPause",	 "autoPauseMemory",
					    SANDBOX_AUTO_RESUME, SANDBOX_AUTO_RESUME_S,
					    "publicTraffic" };
	if (!doc)
		return err->code;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(kept); i++) {
		if (json_object_get(from, kept[i]))
			json_object_set(doc, kept[i], json_object_get(from, kept[i]));
	}
	if (!json_object_get(from, "accessToken"))
		json_object_del(doc, "accessToken");
	options.name = sandbox_text(doc, "id");
	int r = sandbox_save(e, doc, err);
	if (r == 0)
		r = owned_fork(rq, mvm, sandbox_text(from, "id"), &options, 1, &instance, err);
	if (r < 0) {
		sandbox_forget(e, options.name);
		return r;
	}
	mvm_instance_close(instance);
	sandbox_post(e, options.name, json_deep_copy(doc));
	*ret = control_sandbox(doc);
	return 0;
}

int control_fork(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	double timeout_s = 300;
	json_int_t n = 1;
	json_whole(json_object_get(rq->json, "count"), &n);
	int r = control_seconds(rq, "timeout", &timeout_s, err);
	if (r == 0 && (n < 1 || n > FORKS_MAX))
		r = mvm_error_set(err, -EINVAL, "'count' must be 1 to %d", FORKS_MAX);
	if (r < 0)
		return r;
	json_t *all = json_array();
	for (json_int_t i = 0; i < n; i++) {
		struct mvm_error why = { 0 };
		json_t *one = NULL;
		r = fork_one(rq, mvm, timeout_s, &one, &why);
		if (r < 0 && i == 0) {
			json_decref(all);
			*err = why;
			return r;
		}
		json_array_append_new(all, r == 0 ? json_pack("{s:o}", "sandbox", one)
						  : json_pack("{s:{s:i, s:s}}", "error", "code",
							      500, "message", why.text));
	}
	return request_answer(rq, 201, all, err);
}

/* ---- snapshots: templates that a commit makes ---- */

static json_t *snapshot_json(const char *id)
{
	return json_pack("{s:s, s:[s]}", "snapshotID", id, "names", id);
}

int control_snapshot(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	struct mvm_commit_options options = MVM_COMMIT_OPTIONS_INIT;
	char id[64], random[8 + 1];
	const char *sandbox = sandbox_text(rq->own, "id");
	if (sandbox_text(rq->json, "name"))
		return mvm_error_set(err, -EOPNOTSUPP, "mvm names snapshots itself");
	/* the id says which sandbox it is of, for the list */
	sandbox_random(random, sizeof(random) - 1);
	snprintf(id, sizeof(id), SNAPSHOT_PREFIX "-%s-%s", sandbox, random);
	options.snapshot = !json_is_false(json_object_get(rq->json, "memory"));
	int r = mvm_template_commit(mvm, sandbox, id, &options, rq->progress, NULL, err);
	return r < 0 ? r : request_answer(rq, 201, snapshot_json(id), err);
}

struct snapshots {
	const char *sandbox, *after;
	uint64_t limit;
	json_t *all;
	bool more;
};

static bool is_snapshot(const char *id, const char *sandbox)
{
	size_t n = strlen(SNAPSHOT_PREFIX "-");
	if (strncmp(id, SNAPSHOT_PREFIX "-", n) != 0)
		return false;
	return !sandbox || !*sandbox ||
	       (strncmp(id + n, sandbox, strlen(sandbox)) == 0 && id[n + strlen(sandbox)] == '-');
}

static int take_template(void *arg, const struct mvm_template_summary *t)
{
	struct snapshots *s = arg;
	if (!is_snapshot(t->template_id, s->sandbox) ||
	    (s->after && strcmp(t->template_id, s->after) <= 0))
		return 0;
	if (json_array_size(s->all) == s->limit) {
		s->more = true;
		return 1;
	}
	json_array_append_new(s->all, snapshot_json(t->template_id));
	return 0;
}

int control_snapshots(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	struct snapshots s = { .limit = 100 };
	s.sandbox = request_query(rq, "sandboxID");
	s.after = request_query(rq, "nextToken");
	int r = request_query_u64(rq, "limit", 1, 100, &s.limit, err);
	if (r < 0)
		return r;
	s.all = json_array();
	r = mvm_template_list(mvm, take_template, &s, err);
	if (r < 0) {
		json_decref(s.all);
		return r;
	}
	const json_t *last = json_array_get(s.all, json_array_size(s.all) - 1);
	if (s.more && last)
		rq->next = strdup(sandbox_text(last, "snapshotID"));
	return request_answer(rq, 200, s.all, err);
}

int control_delete_template(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	const char *id = request_arg(rq, 0);
	if (!is_snapshot(id, NULL))
		return mvm_error_set(err, -ENOENT, "snapshot '%s' does not exist", id);
	int r = mvm_template_delete(mvm, id, rq->progress, err);
	return r < 0 ? r : request_answer(rq, 204, json_null(), err);
}
