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
	if (r == -EBADMSG) /* nothing in it could be kept */
		return MVM_APPLY_UPDATED;
	r = r < 0 ? r : keep_old(&old, spec, err);
	return r < 0 ? r : r ? MVM_APPLY_UNCHANGED : MVM_APPLY_UPDATED;
}

int mvm_template_apply(struct mvm *mvm, const struct mvm_template_config *config,
		       const struct mvm_template_variant *variant, bool no_wait,
		       const struct mvm_progress *progress, struct mvm_error *err)
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
