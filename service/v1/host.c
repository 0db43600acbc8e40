/* SPDX-License-Identifier: Apache-2.0 */
/* What this host has for templates and instances: pools, kernels, volumes, backends, and what is
 * free. */
#include <mvm/kernel.h>
#include <mvm/node.h>
#include <mvm/pool.h>
#include <mvm/store.h>
#include <mvm/volume.h>

#include "base/error.h"
#include "request.h"
#include "v1/results.h"
#include "v1/routes.h"

/* ---- pools ---- */

static int list_pools(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	struct mvm_pool_info **all = NULL;
	char server[MVM_POOL_SERVER_SIZE];
	size_t n = 0;
	int r = mvm_pool_list(mvm, &all, &n, server, err);
	if (r < 0)
		return r;
	json_t *list = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(
			list, json_pack("{s:s, s:i, s:i, s:o}", "template_id", all[i]->template_id,
					"size", (int)all[i]->size, "ready", (int)all[i]->ready,
					"note", text_or_null(all[i]->note)));
	mvm_pool_list_free(all, n);
	return request_answer(
		rq, 200, json_pack("{s:o, s:o}", "server", text_or_null(server), "pools", list),
		err);
}

static int set_pool(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	static const char *const known[] = { "size" };
	const char *id = request_arg(rq, 0);
	uint64_t size = 0;
	int r = request_only(&rq->body, known, MVM_ARRAY_SIZE(known), err);
	if (r >= 0)
		r = request_bad_body(json_get_u64(&rq->body, "size", 0, MVM_POOL_SIZE_MAX,
						  JSON_REQUIRED, &size, err),
				     err);
	if (r >= 0)
		r = mvm_pool_set(mvm, id, (uint32_t)size, err);
	if (r < 0)
		return r;
	return request_answer(rq, 200,
			      json_pack("{s:s, s:i}", "template_id", id, "size", (int)size), err);
}

/* ---- kernels ---- */

static json_t *kernel_json(const struct mvm_kernel *k)
{
	struct json_out out = { 0 };
	char digest[2 * sizeof(k->vmlinux) + 1];
	json_t *o = json_new(&out), *features = json_object();

	json_put_text(&out, o, "name", k->name);
	json_put(&out, o, "problem", text_or_null(k->problem));
	if (k->problem) {
		json_decref(features);
		return o;
	}
	str_hex(&k->vmlinux, sizeof(k->vmlinux), digest);
	for (unsigned i = 0; mvm_kernel_feature_name(i); i++)
		json_object_set_new(features, mvm_kernel_feature_name(i),
				    json_string(mvm_kernel_has_name(k->features[i])));
	json_put_text(&out, o, "version", k->version);
	json_put_text(&out, o, "added_at", k->added_at);
	json_put_string(&out, o, "vmlinux_sha256", digest);
	json_put_u64(&out, o, "vmlinux_bytes", k->vmlinux_bytes);
	json_put_u64(&out, o, "modules", k->n_modules);
	json_put(&out, o, "pvh", json_boolean(k->pvh));
	json_put(&out, o, "features", features);
	return o;
}

static int list_kernels(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	struct mvm_kernel **all = NULL;
	size_t n = 0;
	int r = mvm_kernel_list(mvm, &all, &n, err);
	if (r < 0)
		return r;
	json_t *list = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, kernel_json(all[i]));
	mvm_kernel_list_free(all, n);
	return request_answer(rq, 200, list, err);
}

static int fetch_kernel(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	static const char *const known[] = { "from", "name", "force" };
	struct mvm_kernel *kernel = NULL;
	AUTO_FREE char *from = NULL, *name = NULL;
	bool force = false;
	int r = request_only(&rq->body, known, MVM_ARRAY_SIZE(known), err);
	if (r >= 0)
		r = json_get_string(&rq->body, "from", JSON_NULLABLE, &from, err);
	if (r >= 0)
		r = json_get_string(&rq->body, "name", JSON_NULLABLE, &name, err);
	if (r >= 0)
		r = json_get_bool(&rq->body, "force", JSON_NULLABLE, &force, err);
	if (r < 0 || !mvm)
		return request_bad_body(r, err);
	r = from ? mvm_kernel_pull(mvm, from, name, force, rq->progress, &kernel, err)
		 : mvm_kernel_fetch(mvm, name, force, rq->progress, &kernel, err);
	if (r < 0)
		return r;
	json_t *o = kernel_json(kernel);
	mvm_kernel_free(kernel);
	return request_answer(rq, 200, o, err);
}

static int remove_kernel(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	int r = mvm_kernel_remove(mvm, request_arg(rq, 0), err);
	return r < 0 ? r : request_answer(rq, 200, json_object(), err);
}

/* ---- volumes ---- */

static json_t *volume_json(const struct mvm_volume_info *v)
{
	if (v->problem)
		return json_pack("{s:s, s:o}", "name", v->name, "problem",
				 text_or_null(v->problem));
	return json_pack("{s:s, s:n, s:I, s:b}", "name", v->name, "problem", "bytes",
			 (json_int_t)v->bytes, "in_use", v->in_use);
}

static int list_volumes(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	struct mvm_volume_info **all = NULL;
	size_t n = 0;
	int r = mvm_volume_list(mvm, rq->progress, &all, &n, err);
	if (r < 0)
		return r;
	json_t *list = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, volume_json(all[i]));
	mvm_volume_list_free(all, n);
	return request_answer(rq, 200, list, err);
}

static int get_volume(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	struct mvm_volume_info *info = NULL;
	int r = mvm_volume_inspect(mvm, request_arg(rq, 0), rq->progress, &info, err);
	if (r < 0)
		return r;
	json_t *o = volume_json(info);
	mvm_volume_info_free(info);
	return request_answer(rq, 200, o, err);
}

static int remove_volume(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	int r = mvm_volume_remove(mvm, request_arg(rq, 0), rq->progress, err);
	return r < 0 ? r : request_answer(rq, 200, json_object(), err);
}

/* ---- backends ---- */

static int list_backends(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	struct mvm_backend_info **all = NULL;
	size_t n = 0;
	int r = mvm_backend_list(mvm, rq->progress, &all, &n, err);
	if (r < 0)
		return r;
	json_t *list = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_pack("{s:s, s:b, s:o, s:o, s:o, s:o}", "name",
						      all[i]->name, "usable", all[i]->usable,
						      "reason", text_or_null(all[i]->reason),
						      "mend", text_or_null(all[i]->mend), "version",
						      text_or_null(all[i]->version), "accelerator",
						      text_or_null(all[i]->accelerator)));
	mvm_backend_list_free(all, n);
	return request_answer(rq, 200, list, err);
}

/* ---- the whole host ---- */

static int get_node(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	struct mvm_node *node = NULL;
	AUTO_FREE char *text = NULL;
	int r = mvm_node_look(mvm, rq->progress, &node, err);
	if (r == 0)
		r = mvm_node_json(node, &text, err);
	mvm_node_free(node);
	return r < 0 ? r : request_answer(rq, 200, json_loads(text, 0, NULL), err);
}

const struct route v1_host_routes[] = {
	{ .method = "GET", .pattern = "/v1/node", .scope = SCOPE_READ, .work = get_node },
	{ .method = "GET", .pattern = "/v1/pools", .scope = SCOPE_READ, .work = list_pools },
	{ .method = "PUT",
	  .pattern = "/v1/pools/{id}",
	  .scope = SCOPE_ADMIN,
	  .work = set_pool,
	  .body = true,
	  .needs_body = true },
	{ .method = "GET", .pattern = "/v1/kernels", .scope = SCOPE_READ, .work = list_kernels },
	{ .method = "POST",
	  .pattern = "/v1/kernels",
	  .scope = SCOPE_ADMIN,
	  .work = fetch_kernel,
	  .operation = "kernel.fetch",
	  .class = WORK_BUILD,
	  .checks = true,
	  .body = true },
	{ .method = "DELETE",
	  .pattern = "/v1/kernels/{name}",
	  .scope = SCOPE_ADMIN,
	  .work = remove_kernel },
	{ .method = "GET", .pattern = "/v1/volumes", .scope = SCOPE_READ, .work = list_volumes },
	{ .method = "GET",
	  .pattern = "/v1/volumes/{name}",
	  .scope = SCOPE_READ,
	  .work = get_volume },
	{ .method = "DELETE",
	  .pattern = "/v1/volumes/{name}",
	  .scope = SCOPE_ADMIN,
	  .work = remove_volume,
	  .class = WORK_START },
	{ .method = "GET", .pattern = "/v1/backends", .scope = SCOPE_READ, .work = list_backends },
	{ 0 },
};
