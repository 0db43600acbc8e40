/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/templates: the table; looking at templates, defining and deleting them. */
#include "v1/templates.h"

#include <errno.h>
#include <mvm/revisions.h>
#include <mvm/store.h>
#include <mvm/template.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/parse.h"
#include "base/str.h"
#include "v1/results.h"
#include "v1/routes.h"

#define SETTINGS_MAX 64

char *template_ref(const struct request *rq, const char *revision)
{
	const char *id = request_arg(rq, 0);
	return str_empty(revision) ? strdup(id) : str_printf("%s@%s", id, revision);
}

/* ---- looking ---- */

struct page {
	struct request *rq;
	const char *after;
	uint64_t limit;
	json_t *list;
	char last[MVM_TEMPLATE_ID_SIZE];
};

static json_t *summary_json(const struct mvm_template_summary *s)
{
	struct json_out out = { 0 };
	json_t *o = json_new(&out);
	json_put_text(&out, o, "template_id", s->template_id);
	json_put(&out, o, "problem", text_or_null(s->problem));
	if (!s->problem) {
		json_put_text(&out, o, "role", s->role);
		json_put_text(&out, o, "profile", s->profile);
		json_put_u64(&out, o, "vcpus", s->vcpus);
		json_put_u64(&out, o, "mem_mib", s->mem_mib);
		json_put(&out, o, "revision_hash", text_or_null(s->revision));
		json_put_u64(&out, o, "rootfs_bytes", s->rootfs_bytes);
		json_put(&out, o, "has_snapshot", json_boolean(s->has_snapshot));
		json_put_u64(&out, o, "snapshot_mem_bytes", s->snapshot_mem_bytes);
	}
	if (!out.failed)
		return o;
	json_decref(o);
	return NULL;
}

static int add_summary(void *arg, const struct mvm_template_summary *s)
{
	struct page *page = arg;
	if (page->after && strcmp(s->template_id, page->after) <= 0)
		return 0;
	if (json_array_size(page->list) == page->limit) {
		page->rq->next = strdup(page->last);
		return 1;
	}
	snprintf(page->last, sizeof(page->last), "%s", s->template_id);
	return json_array_append_new(page->list, summary_json(s)) < 0 ? -ENOMEM : 0;
}

static int list(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	struct page page = { .rq = rq, .after = request_query(rq, "next"), .limit = 100 };
	int r = request_query_u64(rq, "limit", 1, 1000, &page.limit, err);
	if (r < 0)
		return r;
	AUTO_JSON json_t *o = page.list = json_array();
	r = mvm_template_list(mvm, add_summary, &page, err);
	if (r == -ENOMEM)
		return mvm_error_oom(err);
	return r < 0 ? r : request_answer(rq, 200, json_incref(o), err);
}

static int info(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	AUTO_FREE char *ref = template_ref(rq, request_query(rq, "revision")), *text = NULL;
	if (!ref)
		return mvm_error_oom(err);
	int r = mvm_template_info(mvm, ref, rq->progress, &text, err);
	return r < 0 ? r : request_answer(rq, 200, json_loads(text, 0, NULL), err);
}

static json_t *revision_json(const struct mvm_revision_summary *s)
{
	struct json_out out = { 0 };
	json_t *o = json_new(&out);
	json_put_text(&out, o, "revision_hash", s->revision);
	json_put(&out, o, "current", json_boolean(s->current));
	json_put(&out, o, "in_use", json_boolean(s->in_use));
	if (s->built_at)
		json_put_time(&out, o, "built_at", s->built_at);
	else
		json_put(&out, o, "built_at", json_null());
	json_put_u64(&out, o, "vcpus", s->vcpus);
	json_put_u64(&out, o, "mem_mib", s->mem_mib);
	json_put_u64(&out, o, "rootfs_bytes", s->rootfs_bytes);
	json_put_u64(&out, o, "disk_bytes", s->disk_bytes);
	json_put(&out, o, "has_snapshot", json_boolean(s->has_snapshot));
	if (s->has_snapshot)
		json_put_time(&out, o, "snapshot_at", s->snapshot_at);
	else
		json_put(&out, o, "snapshot_at", json_null());
	json_put_u64(&out, o, "snapshot_mem_bytes", s->snapshot_mem_bytes);
	json_put(&out, o, "problem", text_or_null(s->problem));
	if (!out.failed)
		return o;
	json_decref(o);
	return NULL;
}

/* The first revision of the page after "SECONDS-NAME".  If that one was removed since, all that are
 * not younger belong to the page. */
static int find_page(const char *after, struct mvm_revision_summary *const *all, size_t n,
		     size_t *ret, struct mvm_error *err)
{
	const char *dash = strchr(after, '-');
	AUTO_FREE char *text = strndup(after, dash ? (size_t)(dash - after) : 0);
	uint64_t built_at = 0;
	size_t i = 0;
	if (!text)
		return mvm_error_oom(err);
	if (parse_u64(text, 0, INT64_MAX, &built_at) < 0)
		return mvm_error_set(err, -EINVAL, "query parameter 'next' is no page's");
	while (i < n && strcmp(all[i]->revision, dash + 1) != 0)
		i++;
	if (i < n) {
		*ret = i + 1;
		return 0;
	}
	for (i = 0; i < n && all[i]->built_at > (int64_t)built_at;)
		i++;
	*ret = i;
	return 0;
}

static int revisions(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	struct mvm_revision_summary **all = NULL;
	size_t n = 0;
	uint64_t limit = 100;
	const char *after = request_query(rq, "next");
	int r = request_query_u64(rq, "limit", 1, 1000, &limit, err);
	if (r == 0)
		r = mvm_template_history(mvm, request_arg(rq, 0), &all, &n, err);
	if (r < 0)
		return r;
	size_t i = 0;
	if (after)
		r = find_page(after, all, n, &i, err);
	if (r < 0) {
		mvm_revision_list_free(all, n);
		return r;
	}
	json_t *o = json_array();
	for (; i < n && json_array_size(o) < limit; i++)
		json_array_append_new(o, revision_json(all[i]));
	if (i < n)
		rq->next = str_printf("%lld-%s", (long long)all[i - 1]->built_at,
				      all[i - 1]->revision);
	mvm_revision_list_free(all, n);
	return request_answer(rq, 200, o, err);
}

/* ---- defining ---- */

/* Settings as in template.toml: {"flake_ref": "dir:/srv/root", "vcpus": "2", "ports": ["80"]}. */
struct settings {
	struct mvm_template_setting v[SETTINGS_MAX];
	struct strv values[SETTINGS_MAX];
	size_t n;
};

static void settings_done(struct settings *s)
{
	for (size_t i = 0; i < s->n; i++)
		strv_done(&s->values[i]);
}
DEFINE_AUTO_DONE(settings, settings_done)

/* One value as text; numbers and flags as template.toml has them. */
static int add_value(struct strv *to, json_t *value)
{
	json_int_t n = 0;
	if (json_is_string(value))
		strv_add(to, json_string_value(value));
	else if (json_whole(value, &n))
		strv_addf(to, "%" JSON_INTEGER_FORMAT, n);
	else if (json_is_boolean(value))
		strv_add(to, json_is_true(value) ? "true" : "false");
	else
		return -EINVAL;
	return 0;
}

static int read_setting(const struct json_at *at, const char *key, json_t *value,
			struct settings *s, struct mvm_error *err)
{
	if (s->n == SETTINGS_MAX)
		return mvm_error_set(err, -EINVAL, "there are more than %d settings", SETTINGS_MAX);
	struct strv *values = &s->values[s->n];
	struct mvm_template_setting *to = &s->v[s->n++];
	*to = (struct mvm_template_setting){ .key = key };
	if (json_is_null(value)) /* back to the default */
		return 0;
	int r = 0;
	for (size_t i = 0; r == 0 && i < json_array_size(value); i++)
		r = add_value(values, json_array_get(value, i));
	if (!json_is_array(value))
		r = add_value(values, value);
	if (r < 0) {
		json_error(at, key, err,
			   "expected a text, a number, true, false, or a list of them");
		return request_bad_body(-EBADMSG, err);
	}
	static const char *const none[] = { NULL };
	to->values = values->v ? (const char *const *)values->v : none;
	to->n_values = values->n;
	return values->failed ? mvm_error_oom(err) : 0;
}

static int read_settings(const struct request *rq, struct settings *s, struct mvm_error *err)
{
	struct json_at at;
	const char *key;
	json_t *value;
	int r = json_get_object(&rq->body, "settings", JSON_REQUIRED, &at, err);
	if (r < 0)
		return request_bad_body(r, err);
	json_object_foreach(at.value, key, value)
	{
		r = read_setting(&at, key, value, s, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static json_t *result_json(const char *id, const char *result)
{
	return json_pack("{s:s, s:s}", "template_id", id, "result", result);
}

/* Define the template of each variant of a template.toml. */
static int apply_toml(struct request *rq, struct mvm *mvm, const char *toml, struct mvm_error *err)
{
	static const char *const results[] = { "unchanged", "created", "updated" };
	struct mvm_template_config *config = NULL;
	AUTO_JSON json_t *o = json_array();
	int r = mvm_template_config_parse(toml, strlen(toml), "toml", "/",
					  MVM_TEMPLATE_CONFIG_STRICT, &config, NULL, err);
	if (r == 0)
		r = mvm_template_config_check(config, err);
	for (size_t i = 0; r >= 0 && i < mvm_template_config_variant_count(config); i++) {
		const struct mvm_template_variant *v = mvm_template_config_variant(config, i);
		const char *base = mvm_template_config_template_id(config);
		AUTO_FREE char *id = NULL;
		if (!base)
			r = mvm_error_set(err, -EINVAL, "toml: template_id is missing");
		else
			r = mvm_template_role_id(base, mvm_template_variant_role(v), &id, err);
		if (r >= 0)
			r = mvm_template_apply(mvm, config, v, false, rq->progress, err);
		if (r >= 0)
			json_array_append_new(o, result_json(id, results[r]));
	}
	mvm_template_config_free(config);
	return r < 0 ? r : request_answer(rq, 200, json_incref(o), err);
}

static int create(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	static const char *const known[] = { "template_id", "settings", "force", "toml" };
	AUTO_DONE(settings) settings = { 0 };
	AUTO_FREE char *id = NULL, *toml = NULL;
	bool force = false;
	int r = request_only(&rq->body, known, MVM_ARRAY_SIZE(known), err);
	if (r >= 0)
		r = json_get_string(&rq->body, "toml", JSON_NULLABLE, &toml, err);
	if (r >= 0 && toml)
		return apply_toml(rq, mvm, toml, err);
	if (r >= 0)
		r = json_get_string(&rq->body, "template_id", JSON_REQUIRED, &id, err);
	if (r >= 0)
		r = json_get_bool(&rq->body, "force", JSON_NULLABLE, &force, err);
	if (r < 0)
		return request_bad_body(r, err);
	r = read_settings(rq, &settings, err);
	if (r >= 0)
		r = mvm_template_create(mvm, id, settings.v, settings.n, force, rq->progress, err);
	if (r < 0)
		return r;
	json_t *o = json_array();
	json_array_append_new(o, result_json(id, r == MVM_APPLY_UPDATED ? "updated" : "created"));
	return request_answer(rq, 200, o, err);
}

static int edit(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	static const char *const known[] = { "settings" };
	AUTO_DONE(settings) settings = { 0 };
	const char *id = request_arg(rq, 0);
	int r = request_only(&rq->body, known, MVM_ARRAY_SIZE(known), err);
	if (r >= 0)
		r = read_settings(rq, &settings, err);
	if (r >= 0)
		r = mvm_template_edit(mvm, id, settings.v, settings.n, rq->progress, err);
	return r < 0 ? r
		     : request_answer(rq, 200, result_json(id, r ? "updated" : "unchanged"), err);
}

static int delete_it(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	int r = mvm_template_delete(mvm, request_arg(rq, 0), rq->progress, err);
	return r < 0 ? r : request_answer(rq, 200, json_object(), err);
}

/* An action that takes minutes. */
#define SLOW(path, fn, name, needs)                                                                \
	{                                                                                          \
		.method = "POST", .pattern = "/v1/" path, .scope = SCOPE_ADMIN, .work = (fn),      \
		.operation = "template." name, .class = WORK_BUILD, .checks = true, .body = true,  \
		.needs_body = (needs),                                                             \
	}

const struct route v1_templates_routes[] = {
	{ .method = "GET", .pattern = "/v1/templates", .scope = SCOPE_READ, .work = list },
	{ .method = "POST",
	  .pattern = "/v1/templates",
	  .scope = SCOPE_ADMIN,
	  .work = create,
	  .class = WORK_START,
	  .body = true,
	  .needs_body = true },
	SLOW("image", work_image, "image", true),
	SLOW("pull", work_pull, "pull", true),
	SLOW("prune", work_prune, "prune", false),
	{ .method = "GET", .pattern = "/v1/templates/{id}", .scope = SCOPE_READ, .work = info },
	{ .method = "PATCH",
	  .pattern = "/v1/templates/{id}",
	  .scope = SCOPE_ADMIN,
	  .work = edit,
	  .class = WORK_START,
	  .body = true,
	  .needs_body = true },
	{ .method = "DELETE",
	  .pattern = "/v1/templates/{id}",
	  .scope = SCOPE_ADMIN,
	  .work = delete_it,
	  .class = WORK_START },
	{ .method = "GET",
	  .pattern = "/v1/templates/{id}/revisions",
	  .scope = SCOPE_READ,
	  .work = revisions },
	SLOW("templates/{id}/build", work_build, "build", false),
	SLOW("templates/{id}/snapshot", work_snapshot, "snapshot", false),
	{ .method = "DELETE",
	  .pattern = "/v1/templates/{id}/snapshot",
	  .scope = SCOPE_ADMIN,
	  .work = work_drop_snapshot,
	  .class = WORK_START },
	SLOW("templates/{id}/push", work_push, "push", true),
	SLOW("templates/{id}/rollback", work_rollback, "rollback", false),
	SLOW("templates/{id}/verify", work_verify, "verify", false),
	{ 0 },
};
