/* SPDX-License-Identifier: Apache-2.0 */
/* Changing instances that run, and ending them. */
#include <errno.h>
#include <mvm/build.h>
#include <mvm/network.h>
#include <mvm/suspend.h>

#include "base/error.h"
#include "v1/instances.h"
#include "v1/results.h"

#define MS_MAX (INT64_MAX / 1000000)

int work_stop(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	static const char *const known[] = { "timeout_ms" };
	uint64_t timeout_ms = 10000; /* as the command line */
	int r = request_only(&rq->body, known, MVM_ARRAY_SIZE(known), err);
	if (r >= 0)
		r = request_bad_body(json_get_u64(&rq->body, "timeout_ms", 0, MS_MAX, JSON_NULLABLE,
						  &timeout_ms, err),
				     err);
	if (r < 0 || !mvm)
		return r;
	r = mvm_instance_stop(mvm, request_arg(rq, 0), (int64_t)timeout_ms, rq->progress, err);
	if (r < 0)
		return r;
	/* with remove_at_end it is gone by now */
	r = answer_instance(rq, mvm, 200, request_arg(rq, 0), err);
	return r == -ENOENT ? request_answer(rq, 200, json_object(), err) : r;
}

int work_kill(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	static const char *const known[] = { "signal" };
	AUTO_FREE char *signal = NULL;
	int r = request_only(&rq->body, known, MVM_ARRAY_SIZE(known), err);
	if (r >= 0)
		r = json_get_string(&rq->body, "signal", JSON_NULLABLE, &signal, err);
	if (r < 0)
		return request_bad_body(r, err);
	r = mvm_instance_kill(mvm, request_arg(rq, 0), signal ? signal : "KILL", rq->progress, err);
	return r < 0 ? r : request_answer(rq, 200, json_object(), err);
}

/* A change without options; then the answer is the instance's record. */
static int change(struct request *rq, struct mvm *mvm,
		  int (*fn)(struct mvm *, const char *, const struct mvm_progress *,
			    struct mvm_error *),
		  struct mvm_error *err)
{
	int r = request_only(&rq->body, NULL, 0, err);
	if (r < 0 || !mvm)
		return r;
	r = fn(mvm, request_arg(rq, 0), rq->progress, err);
	return r < 0 ? r : answer_instance(rq, mvm, 200, request_arg(rq, 0), err);
}

int work_pause(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	return change(rq, mvm, mvm_instance_pause, err);
}

int work_resume(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	return change(rq, mvm, mvm_instance_resume, err);
}

int work_suspend(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	return change(rq, mvm, mvm_instance_suspend, err);
}

int work_ttl(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	static const char *const known[] = { "ttl_ms" };
	uint64_t ttl_ms = 0;
	int r = request_only(&rq->body, known, MVM_ARRAY_SIZE(known), err);
	if (r >= 0)
		r = json_get_u64(&rq->body, "ttl_ms", 0, MS_MAX, JSON_REQUIRED, &ttl_ms, err);
	if (r < 0)
		return request_bad_body(r, err);
	r = mvm_instance_set_ttl(mvm, request_arg(rq, 0), (int64_t)ttl_ms, rq->progress, err);
	return r < 0 ? r : answer_instance(rq, mvm, 200, request_arg(rq, 0), err);
}

int work_rename(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	static const char *const known[] = { "name" };
	AUTO_FREE char *name = NULL;
	int r = request_only(&rq->body, known, MVM_ARRAY_SIZE(known), err);
	if (r >= 0)
		r = json_get_string(&rq->body, "name", JSON_REQUIRED, &name, err);
	if (r < 0)
		return request_bad_body(r, err);
	r = mvm_instance_rename(mvm, request_arg(rq, 0), name, rq->progress, err);
	return r < 0 ? r : answer_instance(rq, mvm, 200, name, err);
}

int work_network(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	static const char *const known[] = { "allow", "deny", "add" };
	struct mvm_network_options options = MVM_NETWORK_OPTIONS_INIT;
	AUTO_DONE(strv) allow = { 0 };
	AUTO_DONE(strv) deny = { 0 };
	int r = request_only(&rq->body, known, MVM_ARRAY_SIZE(known), err);
	if (r >= 0)
		r = json_get_strings(&rq->body, "allow", JSON_NULLABLE, &allow, err);
	if (r >= 0)
		r = json_get_strings(&rq->body, "deny", JSON_NULLABLE, &deny, err);
	if (r >= 0)
		r = json_get_bool(&rq->body, "add", JSON_NULLABLE, &options.add, err);
	if (r < 0)
		return request_bad_body(r, err);
	options.allow = (const char *const *)allow.v;
	options.deny = (const char *const *)deny.v;
	r = mvm_instance_set_network(mvm, request_arg(rq, 0), &options, rq->progress, err);
	return r < 0 ? r : answer_instance(rq, mvm, 200, request_arg(rq, 0), err);
}

int work_commit(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	static const char *const known[] = { "template", "snapshot", "no_wait", "backend",
					     "max_bytes" };
	struct mvm_commit_options options = MVM_COMMIT_OPTIONS_INIT;
	struct mvm_build_result result = MVM_BUILD_RESULT_INIT;
	AUTO_FREE char *id = NULL, *backend = NULL;
	int r = request_only(&rq->body, known, MVM_ARRAY_SIZE(known), err);
	if (r >= 0)
		r = json_get_string(&rq->body, "template", JSON_REQUIRED, &id, err);
	if (r >= 0)
		r = json_get_string(&rq->body, "backend", JSON_NULLABLE, &backend, err);
	if (r >= 0)
		r = json_get_bool(&rq->body, "snapshot", JSON_NULLABLE, &options.snapshot, err);
	if (r >= 0)
		r = json_get_bool(&rq->body, "no_wait", JSON_NULLABLE, &options.no_wait, err);
	if (r >= 0)
		r = json_get_u64(&rq->body, "max_bytes", 1, JSON_U64_MAX, JSON_NULLABLE,
				 &options.max_bytes, err);
	if (r < 0 || !mvm)
		return request_bad_body(r, err);
	options.backend = backend;
	r = mvm_template_commit(mvm, request_arg(rq, 0), id, &options, rq->progress, &result, err);
	return r < 0 ? r : request_answer(rq, 201, build_result_json(&result), err);
}
