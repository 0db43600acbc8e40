/* SPDX-License-Identifier: Apache-2.0 */
/* The templates of a data folder: apply, list, info. */
#include <errno.h>
#include <jansson.h>
#include <mvm/store.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "codec/json.h"
#include "store/revision.h"
#include "template/spec_rules.h"
#include "template/start.h"

DEFINE_AUTO_DONE(mvm_template_spec, mvm_template_spec_done)
DEFINE_AUTO_DONE(mvm_template_kind, mvm_template_kind_done)
DEFINE_AUTO_DONE(mvm_template_revision, mvm_template_revision_done)

/* ---- apply ---- */

int mvm_template_apply(struct mvm *mvm, const struct mvm_template_config *config,
		       const struct mvm_template_variant *variant, struct mvm_error *err)
{
	AUTO_DONE(mvm_template_spec) spec = { 0 };
	AUTO_DONE(mvm_template_spec) old = { 0 };
	int64_t now = clock_wall_ns() / NS_PER_S;

	int r = mvm_template_spec_from_variant(config, variant, now, &spec, err);
	if (r < 0)
		return r;
	AUTO_CLOSE int lock_fd = store_lock_template(mvm->store, spec.template_id, 0,
						     "template apply", NULL);
	if (lock_fd < 0)
		return mvm_error_set(err, lock_fd, "cannot lock template '%s': %s",
				     spec.template_id, strerror(-lock_fd));
	r = store_spec_load(mvm->store, spec.template_id, &old, err);
	if (r < 0 && r != -ENOENT)
		return r;
	enum mvm_apply_result result = r == -ENOENT ? MVM_APPLY_CREATED : MVM_APPLY_UPDATED;
	if (result == MVM_APPLY_UPDATED) {
		spec.created_at = old.created_at;
		struct json_t *other = spec.other;
		spec.other = old.other; /* keys of newer versions stay */
		old.other = other;
		r = spec_same(&old, &spec, err);
		if (r != 0)
			return r < 0 ? r : MVM_APPLY_UNCHANGED;
	}
	r = store_spec_save(mvm->store, &spec, err);
	return r < 0 ? r : (int)result;
}

/* ---- list ---- */

void mvm_template_summary_free(struct mvm_template_summary *s)
{
	if (!s)
		return;
	mvm_template_spec_done(&s->spec);
	free(s->revision);
	free(s->problem);
	free(s);
}
DEFINE_AUTO(mvm_template_summary, mvm_template_summary_free)

static int summarise(struct mvm *mvm, const char *id, struct mvm_template_summary *to,
		     struct mvm_error *err)
{
	AUTO_DONE(mvm_template_revision) rev = { 0 };
	char current[STORE_REVISION_SIZE];

	int r = store_spec_load(mvm->store, id, &to->spec, err);
	if (r < 0)
		return r;
	r = store_current_get(mvm->store, id, current, err);
	if (r == -ENOENT)
		return 0; /* not built yet */
	if (r == 0)
		r = store_revision_load(mvm->store, id, current, &rev, NULL, err);
	if (r < 0)
		return r;
	to->revision = strdup(current);
	to->built_at = rev.built_at;
	to->rootfs_bytes = rev.artifact_paths.sizes.rootfs_bytes;
	to->has_snapshot = rev.has_snapshot;
	to->snapshot_mem_bytes = rev.snapshot.mem_size_bytes;
	return to->revision ? 0 : mvm_error_oom(err);
}

/* What can be said of a template that cannot be read. */
static int note_problem(const char *id, const struct mvm_error *why,
			struct mvm_template_summary *to)
{
	mvm_template_spec_done(&to->spec);
	to->spec.template_id = strdup(id);
	to->problem = str_printf("template '%s': %s", id, why->text);
	return to->spec.template_id && to->problem ? 0 : -ENOMEM;
}

int mvm_template_list(struct mvm *mvm, struct mvm_template_summary ***ret, size_t *ret_n,
		      struct mvm_error *err)
{
	AUTO_DONE(strv) ids = { 0 };
	size_t n = 0;

	int r = store_template_list(mvm->store, &ids, err);
	if (r < 0)
		return r;
	struct mvm_template_summary **list = calloc(ids.n + 1, sizeof(*list));
	if (!list)
		return mvm_error_oom(err);
	for (size_t i = 0; i < ids.n; i++) {
		struct mvm_error why = { 0 };
		AUTO(mvm_template_summary) s = calloc(1, sizeof(*s));
		r = s ? summarise(mvm, ids.v[i], s, &why) : -ENOMEM;
		if (r == -ENOENT && !s->revision)
			continue; /* deleted meanwhile */
		if (r < 0 && r != -ENOMEM)
			r = note_problem(ids.v[i], &why, s);
		if (r < 0) {
			while (n)
				mvm_template_summary_free(list[--n]);
			free(list);
			return mvm_error_oom(err);
		}
		list[n++] = TAKE_PTR(s);
	}
	*ret = list;
	*ret_n = n;
	return 0;
}

/* ---- info ---- */

/* Text that one of our own writers made, as a value again. */
static json_t *parsed(char *text)
{
	AUTO_FREE char *owned = text;
	return owned ? json_loads(owned, JSON_DECODE_ANY, NULL) : NULL;
}

/* What `run` would do here, and why. */
static json_t *start_json(struct mvm *mvm, const struct revision *revision,
			  const struct vmm_ops **ret_ops)
{
	AUTO_DONE(start_plan) plan = { 0 };
	AUTO_DONE(vmm_probe) probe = { 0 };
	struct mvm_error why = { 0 };
	const struct vmm_ops *ops = NULL;

	int r = context_backend(mvm, NULL, &ops, &probe, &why);
	*ret_ops = r < 0 ? NULL : ops;
	struct start_request request = { .revision = revision, .ops = ops, .probe = &probe };
	if (r == 0)
		r = start_decide(&request, &plan, &why);
	const char *start = r < 0 ? "none" : plan.restore ? "restore" : "boot";
	const char *reason = r < 0 ? why.text : plan.reason;
	return json_pack("{s:s?, s:s, s:s?}", "backend", *ret_ops ? (*ret_ops)->name : NULL,
			 "start", start, "reason", reason);
}

static int put_revision(struct mvm *mvm, const char *ref, struct json_out *out, json_t *o,
			struct mvm_error *err)
{
	AUTO_DONE(revision) revision = REVISION_NONE;
	AUTO_DONE(mvm_template_kind) kind = { 0 };
	const struct vmm_ops *ops = NULL;
	char key[MVM_CACHE_KEY_SIZE], *text = NULL, *kind_text = NULL;

	int r = revision_open(mvm, ref, &revision, err);
	if (r < 0)
		return r;
	r = mvm_template_revision_format(&revision.rev, &text, err);
	if (r < 0)
		return r;
	json_put(out, o, "revision", parsed(text));
	json_t *start = start_json(mvm, &revision, &ops);
	r = mvm_template_kind_of(&revision.rev, ops ? ops->name : "", ops && ops->caps.snapshots,
				 &kind, err);
	if (r == 0)
		r = mvm_template_kind_format(&kind, &kind_text, err);
	if (r < 0) {
		json_decref(start);
		return r;
	}
	json_put(out, o, "kind", parsed(kind_text));
	mvm_template_revision_cache_key(&revision.rev, key);
	json_put_string(out, o, "cache_key", key);
	json_put(out, o, "run", start);
	return 0;
}

int mvm_template_info(struct mvm *mvm, const char *ref, char **ret_json, struct mvm_error *err)
{
	AUTO_DONE(mvm_template_spec) spec = { 0 };
	char id[STORE_ID_SIZE], current[STORE_REVISION_SIZE], *text = NULL;
	size_t len = strcspn(ref, "@");
	struct json_out out = { 0 };

	(void)snprintf(id, sizeof(id), "%.*s", len < sizeof(id) ? (int)len : 0, ref);
	int r = store_spec_load(mvm->store, id, &spec, err);
	if (r == 0)
		r = mvm_template_spec_format(&spec, &text, err);
	if (r < 0)
		return r;
	json_t *o = json_new(&out);
	json_put(&out, o, "spec", parsed(text));
	if (!ref[len] && store_current_get(mvm->store, id, current, err) == -ENOENT) {
		json_put(&out, o, "revision", json_null());
		json_put(&out, o, "kind", json_null());
	} else {
		r = put_revision(mvm, ref, &out, o, err);
		if (r < 0) {
			json_decref(o);
			return r;
		}
	}
	return json_out_text(&out, o, JSON_TEXT_PRETTY, ret_json, err);
}
