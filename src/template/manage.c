/* SPDX-License-Identifier: Apache-2.0 */
/* The templates of a data folder: apply, list. */
#include <errno.h>
#include <mvm/store.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "store/revision.h"
#include "template/spec_rules.h"

DEFINE_AUTO_DONE(mvm_template_spec, mvm_template_spec_done)
DEFINE_AUTO_DONE(mvm_template_revision, mvm_template_revision_done)

/* ---- apply ---- */

/* Bring a loaded spec's successor in line with what it keeps.  1 when nothing else differs. */
static int keep_old(struct mvm_template_spec *old, struct mvm_template_spec *spec,
		    struct mvm_error *err)
{
	spec->created_at = old->created_at;
	struct json_t *other = spec->other;
	spec->other = old->other; /* keys of newer versions stay */
	old->other = other;
	return spec_same(old, spec, err);
}

static int load_and_compare(struct mvm *mvm, struct mvm_template_spec *spec, struct mvm_error *err)
{
	AUTO_DONE(mvm_template_spec) old = { 0 };
	int r = store_spec_load(mvm->store, spec->template_id, &old, err);
	if (r == -ENOENT)
		return MVM_APPLY_CREATED;
	r = r < 0 ? r : keep_old(&old, spec, err);
	return r < 0 ? r : r ? MVM_APPLY_UNCHANGED : MVM_APPLY_UPDATED;
}

int mvm_template_apply(struct mvm *mvm, const struct mvm_template_config *config,
		       const struct mvm_template_variant *variant, struct mvm_error *err)
{
	AUTO_DONE(mvm_template_spec) spec = { 0 };
	int64_t now = clock_wall_ns() / NS_PER_S;

	int r = mvm_template_spec_from_variant(config, variant, now, &spec, err);
	if (r < 0)
		return r;
	/* specs are replaced whole: looking takes no lock, so it need not wait for a build */
	r = load_and_compare(mvm, &spec, err);
	if (r < 0 || r == MVM_APPLY_UNCHANGED)
		return r;
	AUTO_CLOSE int lock_fd = store_lock_template(mvm->store, spec.template_id, 0,
						     "template apply", NULL);
	if (lock_fd < 0)
		return mvm_error_set(err, lock_fd, "cannot lock template '%s': %s",
				     spec.template_id, strerror(-lock_fd));
	int result = load_and_compare(mvm, &spec, err);
	if (result < 0 || result == MVM_APPLY_UNCHANGED)
		return result;
	r = store_spec_save(mvm->store, &spec, err);
	return r < 0 ? r : result;
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
