/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/instances: start, look at and remove instances. */
#include <errno.h>
#include <mvm/instance.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "codec/json.h"
#include "owned.h"
#include "request.h"
#include "v1/routes.h"

static json_t *info_json(const struct mvm_instance_info *info)
{
	return json_loads(info->json, 0, NULL);
}

/* ---- looking ---- */

/* Instances by name, from the one after the query's `next` on, `limit` at most. */
static int list(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	struct mvm_instance_info **all = NULL;
	size_t n = 0;
	uint64_t limit = 100;
	const char *after = request_query(rq, "next"), *last = NULL;
	int r = request_query_u64(rq, "limit", 1, 1000, &limit, err);
	if (r == 0)
		r = mvm_instance_list(mvm, &all, &n, err);
	if (r < 0)
		return r;
	json_t *o = json_array();
	for (size_t i = 0; i < n; i++) {
		if (after && strcmp(all[i]->name, after) <= 0)
			continue;
		if (json_array_size(o) == limit) {
			rq->next = strdup(last);
			break;
		}
		last = all[i]->name;
		json_array_append_new(o, info_json(all[i]));
	}
	mvm_instance_list_free(all, n);
	return request_answer(rq, 200, o, err);
}

static int inspect(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	struct mvm_instance_info *info = NULL;
	int r = mvm_instance_inspect(mvm, request_arg(rq, 0), &info, err);
	if (r < 0)
		return r;
	json_t *o = info_json(info);
	mvm_instance_info_free(info);
	return request_answer(rq, 200, o, err);
}

/* ---- starting ---- */

static int read_start(const struct request *rq, struct mvm_start_options *ret, char **ret_template,
		      char **ret_name, struct mvm_error *err)
{
	static const char *const known[] = { "template", "name", "vcpus", "mem_mib", "ttl_ms" };
	uint64_t vcpus = 0, mem_mib = 0, ttl_ms = 0;
	int r = request_only(&rq->body, known, MVM_ARRAY_SIZE(known), err);
	if (r == 0)
		r = json_get_string(&rq->body, "template", JSON_REQUIRED, ret_template, err);
	if (r >= 0)
		r = json_get_string(&rq->body, "name", JSON_NULLABLE, ret_name, err);
	if (r >= 0)
		r = json_get_u64(&rq->body, "vcpus", 1, 1024, JSON_NULLABLE, &vcpus, err);
	if (r >= 0)
		r = json_get_u64(&rq->body, "mem_mib", 1, UINT32_MAX, JSON_NULLABLE, &mem_mib, err);
	if (r >= 0)
		r = json_get_u64(&rq->body, "ttl_ms", 1, INT64_MAX / 1000000, JSON_NULLABLE,
				 &ttl_ms, err);
	ret->template_ref = *ret_template;
	ret->name = *ret_name;
	ret->vcpus = (unsigned)vcpus;
	ret->mem_mib = (uint32_t)mem_mib;
	ret->ttl_ms = (int64_t)ttl_ms;
	return r < 0 ? request_bad_body(r, err) : 0;
}

static int start(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	struct mvm_start_options options = MVM_START_OPTIONS_INIT;
	AUTO_FREE char *template_ref = NULL, *name = NULL;
	struct mvm_instance *instance = NULL;
	struct mvm_instance_info *info = NULL;

	int r = read_start(rq, &options, &template_ref, &name, err);
	if (r == 0)
		r = owned_start(rq, mvm, &options, &instance, err);
	if (r < 0)
		return r;
	r = mvm_instance_inspect(mvm, mvm_instance_name(instance), &info, err);
	const char *text = r == 0 ? info->json : mvm_instance_start_json(instance);
	json_t *o = text ? json_loads(text, 0, NULL) : NULL;
	mvm_instance_info_free(info);
	mvm_instance_close(instance);
	return request_answer(rq, 201, o, err);
}

/* ---- ending ---- */

static int delete_it(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	bool force = false;
	int r = request_query_bool(rq, "force", &force, err);
	if (r == 0)
		r = mvm_instance_remove(mvm, request_arg(rq, 0), force, rq->progress, err);
	return r < 0 ? r : request_answer(rq, 200, json_object(), err);
}

const struct route v1_instances_routes[] = {
	{ .method = "GET", .pattern = "/v1/instances", .scope = SCOPE_READ, .work = list },
	{ .method = "POST",
	  .pattern = "/v1/instances",
	  .scope = SCOPE_EXEC,
	  .work = start,
	  .operation = "instance.start",
	  .class = WORK_START,
	  .body = true },
	{ .method = "GET",
	  .pattern = "/v1/instances/{name}",
	  .scope = SCOPE_READ,
	  .work = inspect },
	{ .method = "DELETE",
	  .pattern = "/v1/instances/{name}",
	  .scope = SCOPE_EXEC,
	  .work = delete_it,
	  .operation = "instance.remove",
	  .class = WORK_START },
	{ 0 },
};
