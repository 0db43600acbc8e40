/* SPDX-License-Identifier: Apache-2.0 */
/* Writing specs: create and edit. */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "model/model_json.h"
#include "model/name.h"
#include "store/revision.h"
#include "template/settings.h"
#include "template/spec_rules.h"

/* ---- create ---- */

int mvm_template_role_id(const char *base, const char *role, char **ret, struct mvm_error *err)
{
	AUTO_FREE char *id = str_printf("%s-%s", base, role);
	if (!id)
		return mvm_error_oom(err);
	int r = name_check(NAME_ROLE, role, err);
	if (r == 0)
		r = name_check(NAME_TEMPLATE, id, err);
	if (r < 0)
		return mvm_error_context(err, r, "role '%s'", role);
	*ret = TAKE_PTR(id);
	return 0;
}

static int make_absolute(struct mvm_template_spec *spec, struct mvm_error *err)
{
	AUTO_FREE char *ref = TAKE_PTR(spec->flake_ref);
	return spec_flake_ref(ref, &spec->flake_ref, err);
}

/* Make a spec: the defaults, changed by the settings.  Refuses a spec that cannot be built. */
static int make_spec(const char *id, const struct mvm_template_setting *settings, size_t n,
		     struct mvm_template_spec *ret, struct mvm_error *err)
{
	bool failed = false;
	int64_t now = clock_wall_ns() / NS_PER_S;
	AUTO_DONE(mvm_template_spec) spec = {
		.schema_version = MVM_SCHEMA_VERSION,
		.vcpus = MVM_DEFAULT_VCPUS,
		.mem_mib = MVM_DEFAULT_MEM_MIB,
		.created_at = now,
		.updated_at = now,
	};

	spec.template_id = str_dup(id, &failed);
	spec.profile = str_dup(MVM_DEFAULT_PROFILE, &failed);
	spec.role = str_dup(MVM_DEFAULT_ROLE, &failed);
	if (failed)
		return mvm_error_oom(err);
	int r = settings_apply(&spec, settings, n, err);
	if (r == 0)
		r = spec_check(&spec, err);
	if (r == 0)
		r = make_absolute(&spec, err);
	if (r < 0)
		return r;
	*ret = spec;
	spec = (struct mvm_template_spec){ 0 };
	return 0;
}

int mvm_template_create(struct mvm *mvm, const char *id,
			const struct mvm_template_setting *settings, size_t n_settings, bool force,
			const struct mvm_progress *progress, struct mvm_error *err)
{
	AUTO_DONE(mvm_template_spec) spec = { 0 };
	AUTO_DONE(mvm_template_spec) old = { 0 };
	enum mvm_apply_result result = MVM_APPLY_UPDATED;
	struct mvm_error why = { 0 };
	struct progress_watch watch;

	int r = progress_take(&watch, &progress, err);
	if (r == 0)
		r = make_spec(id, settings, n_settings, &spec, err);
	if (r < 0)
		return r;
	AUTO_CLOSE int lock_fd = template_lock(mvm, spec.template_id, "template create", false,
					       progress, err);
	if (lock_fd < 0)
		return lock_fd;
	r = store_spec_load(mvm->store, spec.template_id, &old, &why);
	if (r == -ENOENT) {
		result = MVM_APPLY_CREATED;
	} else if (!force) {
		r = mvm_error_set(err, -EEXIST, "template '%s' exists", spec.template_id);
		return mvm_error_reason(err, r, "template-exists", spec.template_id);
	} else if (r == 0) {
		spec.created_at = old.created_at;
		spec.other = TAKE_PTR(old.other);
	} else if (r != -EBADMSG) { /* force replaces a damaged spec, but no newer mvm's */
		return mvm_error_hand_on(err, &why);
	}
	r = store_spec_save(mvm->store, &spec, err);
	return r < 0 ? r : (int)result;
}

/* ---- edit ---- */

static bool has_setting(const struct mvm_template_setting *settings, size_t n, const char *key)
{
	for (size_t i = 0; i < n; i++) {
		if (str_eq(settings[i].key, key))
			return true;
	}
	return false;
}

static int change(struct mvm_template_spec *spec, const struct mvm_template_setting *settings,
		  size_t n, struct mvm_error *err)
{
	int r = settings_apply(spec, settings, n, err);
	if (r == 0 && has_setting(settings, n, "flake_ref"))
		r = make_absolute(spec, err);
	return r < 0 ? r : spec_check(spec, err);
}

int mvm_template_edit(struct mvm *mvm, const char *id, const struct mvm_template_setting *settings,
		      size_t n_settings, const struct mvm_progress *progress, struct mvm_error *err)
{
	AUTO_DONE(mvm_template_spec) old = { 0 };
	AUTO_DONE(mvm_template_spec) spec = { 0 };
	struct progress_watch watch;

	/* before locking: a template that does not exist gets no lock file */
	int r = progress_take(&watch, &progress, err);
	if (r == 0)
		r = store_spec_load(mvm->store, id, &old, err);
	if (r < 0)
		return r;
	AUTO_CLOSE int lock_fd = template_lock(mvm, id, "template edit", false, progress, err);
	if (lock_fd < 0)
		return lock_fd;
	mvm_template_spec_done(&old);
	r = store_spec_load(mvm->store, id, &old, err);
	if (r == 0)
		r = store_spec_load(mvm->store, id, &spec, err);
	if (r == 0)
		r = change(&spec, settings, n_settings, err);
	if (r < 0)
		return r;
	r = spec_same(&old, &spec, err);
	if (r != 0)
		return r < 0 ? r : 0;
	spec.updated_at = clock_wall_ns() / NS_PER_S;
	r = store_spec_save(mvm->store, &spec, err);
	return r < 0 ? r : 1;
}
