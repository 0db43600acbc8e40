/* SPDX-License-Identifier: Apache-2.0 */
/* template apply */
#include <errno.h>
#include <mvm/store.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "store/revision.h"
#include "template/spec_rules.h"

DEFINE_AUTO_DONE(mvm_template_spec, mvm_template_spec_done)

/* Give the new spec what it keeps from the old one.  Returns 1 when nothing else differs. */
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
	if (r == -EBADMSG) /* nothing in it could be kept */
		return MVM_APPLY_UPDATED;
	if (r == 0)
		r = keep_old(&old, spec, err);
	if (r < 0)
		return r;
	return r == 1 ? MVM_APPLY_UNCHANGED : MVM_APPLY_UPDATED;
}

/* Make the variant's spec.  Refuses a spec that cannot be built. */
static int make_spec(const struct mvm_template_config *config,
		     const struct mvm_template_variant *variant, struct mvm_template_spec *ret,
		     struct mvm_error *err)
{
	int64_t now = clock_wall_ns() / NS_PER_S;
	AUTO_DONE(mvm_template_spec) spec = { 0 };

	int r = mvm_template_spec_from_variant(config, variant, now, &spec, err);
	if (r == 0)
		r = spec_check(&spec, err);
	if (r < 0)
		return mvm_error_context(err, r, "template '%s'", variant->name);
	*ret = spec;
	spec = (struct mvm_template_spec){ 0 };
	return 0;
}

int mvm_template_config_check(const struct mvm_template_config *config, struct mvm_error *err)
{
	int r = 0;
	for (size_t i = 0; r == 0 && i < config->n_variants; i++) {
		AUTO_DONE(mvm_template_spec) spec = { 0 };
		r = make_spec(config, &config->variants[i], &spec, err);
	}
	return r;
}

int mvm_template_apply(struct mvm *mvm, const struct mvm_template_config *config,
		       const struct mvm_template_variant *variant, bool no_wait,
		       const struct mvm_progress *progress, struct mvm_error *err)
{
	AUTO_DONE(mvm_template_spec) spec = { 0 };
	struct progress_watch watch;

	int r = progress_take(&watch, &progress, err);
	if (r == 0)
		r = make_spec(config, variant, &spec, err);
	if (r < 0)
		return r;
	/* a spec is replaced whole, so we can read it without the lock, which a build may hold */
	r = load_and_compare(mvm, &spec, err);
	if (r < 0 || r == MVM_APPLY_UNCHANGED)
		return r;
	AUTO_CLOSE int lock_fd = template_lock(mvm, spec.template_id, "template apply", no_wait,
					       progress, err);
	if (lock_fd < 0)
		return lock_fd;
	int result = load_and_compare(mvm, &spec, err);
	if (result < 0 || result == MVM_APPLY_UNCHANGED)
		return result;
	r = store_spec_save(mvm->store, &spec, err);
	return r < 0 ? r : result;
}
