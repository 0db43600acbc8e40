/* SPDX-License-Identifier: Apache-2.0 */
/* Building templates, and moving them between hosts. */
#include <mvm/artifact.h>
#include <mvm/build.h>
#include <mvm/revisions.h>
#include <stdlib.h>

#include "base/error.h"
#include "v1/results.h"
#include "v1/templates.h"

/* A member of a body and where it goes: by its type one of the pointers. */
struct member {
	const char *key;
	char **text;
	bool *flag;
	uint64_t *number;
	uint64_t max; /* of the number; 0: any */
	bool required;
};

/* Read the body's members, and refuse others. */
static int read_members(const struct request *rq, const struct member *v, size_t n,
			struct mvm_error *err)
{
	const char *known[8];
	for (size_t i = 0; i < n; i++)
		known[i] = v[i].key;
	int r = request_only(&rq->body, known, n, err);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		enum json_presence p = v[i].required ? JSON_REQUIRED : JSON_NULLABLE;
		if (v[i].text)
			r = json_get_string(&rq->body, v[i].key, p, v[i].text, err);
		else if (v[i].flag)
			r = json_get_bool(&rq->body, v[i].key, p, v[i].flag, err);
		else
			r = json_get_u64(&rq->body, v[i].key, 1, v[i].max ? v[i].max : JSON_U64_MAX,
					 p, v[i].number, err);
	}
	return r < 0 ? request_bad_body(r, err) : 0;
}

int work_build(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	struct mvm_build_options o = MVM_BUILD_OPTIONS_INIT;
	struct mvm_build_result result = MVM_BUILD_RESULT_INIT;
	AUTO_FREE char *backend = NULL;
	const struct member members[] = {
		{ "snapshot", .flag = &o.snapshot },
		{ "force", .flag = &o.force },
		{ "no_wait", .flag = &o.no_wait },
		{ "dry_run", .flag = &o.dry_run },
		{ "backend", .text = &backend },
		{ "max_image_bytes", .number = &o.max_image_bytes },
	};
	int r = read_members(rq, members, MVM_ARRAY_SIZE(members), err);
	if (r < 0 || !mvm)
		return r;
	o.backend = backend;
	r = mvm_template_build(mvm, request_arg(rq, 0), &o, rq->progress, &result, err);
	return r < 0 ? r : request_answer(rq, 200, build_result_json(&result), err);
}

int work_snapshot(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	struct mvm_snapshot_options o = MVM_SNAPSHOT_OPTIONS_INIT;
	struct mvm_build_result result = MVM_BUILD_RESULT_INIT;
	AUTO_FREE char *backend = NULL, *revision = NULL;
	const struct member members[] = {
		{ "revision", .text = &revision },
		{ "backend", .text = &backend },
		{ "no_wait", .flag = &o.no_wait },
	};
	int r = read_members(rq, members, MVM_ARRAY_SIZE(members), err);
	if (r < 0 || !mvm)
		return r;
	AUTO_FREE char *ref = template_ref(rq, revision);
	if (!ref)
		return mvm_error_oom(err);
	o.backend = backend;
	r = mvm_template_snapshot(mvm, ref, &o, rq->progress, &result, err);
	return r < 0 ? r : request_answer(rq, 200, build_result_json(&result), err);
}

int work_drop_snapshot(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	struct mvm_snapshot_options o = MVM_SNAPSHOT_OPTIONS_INIT;
	AUTO_FREE char *ref = template_ref(rq, request_query(rq, "revision"));
	if (!ref)
		return mvm_error_oom(err);
	o.remove = true;
	int r = mvm_template_snapshot(mvm, ref, &o, rq->progress, NULL, err);
	return r < 0 ? r : request_answer(rq, 200, json_pack("{s:b}", "removed", r), err);
}

int work_image(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	struct mvm_build_options o = MVM_BUILD_OPTIONS_INIT;
	AUTO_FREE char *image = NULL, *backend = NULL, *id = NULL;
	const struct member members[] = {
		{ "image", .text = &image, .required = true },
		{ "force", .flag = &o.force },
		{ "backend", .text = &backend },
		{ "max_image_bytes", .number = &o.max_image_bytes },
	};
	int r = read_members(rq, members, MVM_ARRAY_SIZE(members), err);
	if (r < 0 || !mvm)
		return r;
	o.backend = backend;
	r = mvm_template_of_image(mvm, image, &o, rq->progress, &id, err);
	if (r < 0)
		return r;
	return request_answer(rq, 200, json_pack("{s:s, s:b}", "template_id", id, "built", r), err);
}

int work_push(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	struct mvm_push_options o = MVM_PUSH_OPTIONS_INIT;
	struct mvm_artifact_result result = MVM_ARTIFACT_RESULT_INIT;
	AUTO_FREE char *to = NULL, *revision = NULL, *key = NULL;
	const struct member members[] = {
		{ "to", .text = &to, .required = true },
		{ "revision", .text = &revision },
		{ "image_only", .flag = &o.image_only },
		{ "key", .text = &key },
	};
	int r = read_members(rq, members, MVM_ARRAY_SIZE(members), err);
	if (r < 0 || !mvm)
		return r;
	AUTO_FREE char *ref = template_ref(rq, revision);
	if (!ref)
		return mvm_error_oom(err);
	o.key = key;
	r = mvm_template_push(mvm, ref, to, &o, rq->progress, &result, err);
	return r < 0 ? r : request_answer(rq, 200, artifact_result_json(&result), err);
}

int work_pull(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	struct mvm_pull_options o = MVM_PULL_OPTIONS_INIT;
	struct mvm_artifact_result result = MVM_ARTIFACT_RESULT_INIT;
	AUTO_FREE char *from = NULL, *id = NULL;
	const struct member members[] = {
		{ "from", .text = &from, .required = true },
		{ "template_id", .text = &id },
		{ "image_only", .flag = &o.image_only },
		{ "no_wait", .flag = &o.no_wait },
	};
	int r = read_members(rq, members, MVM_ARRAY_SIZE(members), err);
	if (r < 0 || !mvm)
		return r;
	o.id = id;
	r = mvm_template_pull(mvm, from, &o, rq->progress, &result, err);
	return r < 0 ? r : request_answer(rq, 200, artifact_result_json(&result), err);
}

int work_rollback(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	char from[MVM_REVISION_SIZE], to[MVM_REVISION_SIZE];
	AUTO_FREE char *revision = NULL;
	const struct member members[] = { { "revision", .text = &revision } };
	int r = read_members(rq, members, MVM_ARRAY_SIZE(members), err);
	if (r < 0 || !mvm)
		return r;
	r = mvm_template_rollback(mvm, request_arg(rq, 0), revision, rq->progress, from, to, err);
	if (r < 0)
		return r;
	return request_answer(rq, 200,
			      json_pack("{s:s, s:o, s:s, s:b}", "template_id", request_arg(rq, 0),
					"from", text_or_null(from), "to", to, "changed", r),
			      err);
}

static json_t *verify_json(const struct mvm_verify_result *v)
{
	json_t *problems = json_array();
	for (size_t i = 0; i < v->n_problems; i++) {
		const struct mvm_verify_problem *p = v->problems[i];
		json_array_append_new(problems,
				      json_pack("{s:s, s:s?, s:s?, s:s}", "template_id",
						p->template_id, "revision_hash", p->revision,
						"file", p->file, "message", p->text));
	}
	return json_pack("{s:I, s:I, s:I, s:I, s:o}", "templates", (json_int_t)v->n_templates,
			 "revisions", (json_int_t)v->n_revisions, "files", (json_int_t)v->n_files,
			 "bytes", (json_int_t)v->bytes, "problems", problems);
}

/* Damage that was found is the result, not a failure of the work. */
int work_verify(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	struct mvm_verify_result *result = NULL;
	AUTO_FREE char *revision = NULL;
	const struct member members[] = { { "revision", .text = &revision } };
	int r = read_members(rq, members, MVM_ARRAY_SIZE(members), err);
	if (r < 0 || !mvm)
		return r;
	AUTO_FREE char *ref = template_ref(rq, revision);
	if (!ref)
		return mvm_error_oom(err);
	r = mvm_template_verify(mvm, ref, rq->progress, &result, err);
	if (result)
		r = request_answer(rq, 200, verify_json(result), err);
	mvm_verify_result_free(result);
	return r;
}

static void add_pruned(void *arg, const struct mvm_pruned_revision *p)
{
	struct json_out out = { 0 };
	json_t *o = json_new(&out);
	json_put_text(&out, o, "template_id", p->template_id);
	json_put_text(&out, o, "revision_hash", p->revision);
	if (p->built_at)
		json_put_time(&out, o, "built_at", p->built_at);
	else
		json_put(&out, o, "built_at", json_null());
	json_put_u64(&out, o, "disk_bytes", p->disk_bytes);
	json_array_append_new(arg, o);
}

int work_prune(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	struct mvm_prune_options o = MVM_PRUNE_OPTIONS_INIT;
	struct mvm_prune_result result = MVM_PRUNE_RESULT_INIT;
	AUTO_FREE char *id = NULL;
	uint64_t keep = MVM_PRUNE_KEEP, older_than_s = 0;
	const struct member members[] = {
		{ "template_id", .text = &id },
		{ "keep", .number = &keep, .max = UINT32_MAX },
		{ "older_than_s", .number = &older_than_s },
		{ "max_bytes", .number = &o.max_bytes },
		{ "dry_run", .flag = &o.dry_run },
	};
	int r = read_members(rq, members, MVM_ARRAY_SIZE(members), err);
	if (r < 0 || !mvm)
		return r;
	const uint32_t keep_32 = (uint32_t)keep;
	AUTO_JSON json_t *revisions = json_array();
	o.id = id;
	o.keep = &keep_32;
	o.older_than_s = (int64_t)older_than_s;
	r = mvm_template_prune(mvm, &o, add_pruned, revisions, rq->progress, &result, err);
	if (r < 0)
		return r;
	return request_answer(
		rq, 200,
		json_pack("{s:b, s:O, s:I, s:I, s:I, s:I}", "dry_run", o.dry_run, "revisions",
			  revisions, "in_use", (json_int_t)result.n_in_use, "cached_builds",
			  (json_int_t)result.n_cached, "blobs", (json_int_t)result.n_blobs,
			  "freed_bytes", (json_int_t)result.freed_bytes),
		err);
}
