/* SPDX-License-Identifier: Apache-2.0 */
/* Writing specs: create and edit. */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "model/model_json.h"
#include "model/name.h"
#include "model/run.h"
#include "model/strings.h"
#include "store/revision.h"
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

/* A spec of our own from the caller's. */
static int make_spec(const struct mvm_template_spec *from, struct mvm_template_spec *ret,
		     struct mvm_error *err)
{
	bool failed = false;
	int64_t now = clock_wall_ns() / NS_PER_S;
	AUTO_DONE(mvm_template_spec) spec = {
		.schema_version = MVM_SCHEMA_VERSION,
		.vcpus = from->vcpus,
		.mem_mib = from->mem_mib,
		.data_disk_mib = from->data_disk_mib,
		.created_at = now,
		.updated_at = now,
	};

	spec.template_id = str_dup(from->template_id, &failed);
	spec.profile = str_dup(from->profile ? from->profile : MVM_DEFAULT_PROFILE, &failed);
	spec.role = str_dup(from->role ? from->role : MVM_DEFAULT_ROLE, &failed);
	if (failed || mvm_run_copy(&from->run, &spec.run, NULL) < 0)
		return mvm_error_oom(err);
	run_tidy(&spec.run);
	int r = spec_check(&spec, err);
	if (r == 0)
		r = spec_flake_ref(from->flake_ref, &spec.flake_ref, err);
	if (r < 0)
		return r;
	*ret = spec;
	spec = (struct mvm_template_spec){ 0 };
	return 0;
}

int mvm_template_create(struct mvm *mvm, const struct mvm_template_spec *from, bool force,
			const struct mvm_progress *progress, struct mvm_error *err)
{
	AUTO_DONE(mvm_template_spec) spec = { 0 };
	AUTO_DONE(mvm_template_spec) old = { 0 };
	enum mvm_apply_result result = MVM_APPLY_UPDATED;

	int r = make_spec(from, &spec, err);
	if (r < 0)
		return r;
	AUTO_CLOSE int lock_fd = template_lock(mvm, spec.template_id, "template create", false,
					       progress, err);
	if (lock_fd < 0)
		return lock_fd;
	r = store_spec_load(mvm->store, spec.template_id, &old, err);
	if (r == -ENOENT) {
		result = MVM_APPLY_CREATED;
	} else if (!force) {
		r = mvm_error_set(err, -EEXIST, "template '%s' exists", spec.template_id);
		return mvm_error_hint(err, r,
				      "change it with 'mvm template edit', or replace it "
				      "with --force");
	} else if (r == 0) {
		spec.created_at = old.created_at;
		spec.other = TAKE_PTR(old.other);
	} else if (r != -EBADMSG) { /* a damaged one is replaced whole, one of a newer mvm is not */
		return r;
	}
	r = store_spec_save(mvm->store, &spec, err);
	return r < 0 ? r : (int)result;
}

/* ---- edit ---- */

#define SWAP(a, b)                                                                                 \
	do {                                                                                       \
		__typeof__(a) swap_ = (a);                                                         \
		(a) = (b);                                                                         \
		(b) = swap_;                                                                       \
	} while (0)

/* Add or replace variables; without any, drop all. */
static int set_env(struct mvm_strings *env, const struct mvm_strings *values, struct mvm_error *err)
{
	AUTO_DONE(strv) all = { 0 };

	for (size_t i = 0; values->n && i < env->n; i++) {
		size_t name = strcspn(env->v[i], "=") + 1, k = 0;
		while (k < values->n && strncmp(values->v[k], env->v[i], name) != 0)
			k++;
		if (k == values->n)
			strv_add(&all, env->v[i]);
	}
	for (size_t i = 0; i < values->n; i++)
		strv_add(&all, values->v[i]);
	return strings_take(&all, env) < 0 ? mvm_error_oom(err) : 0;
}

/* Named parts change places with those of a copy, so that either way each is freed once. */
static int set_run(struct mvm_run *run, const struct mvm_run *values, unsigned fields,
		   struct mvm_error *err)
{
	AUTO_DONE(mvm_run) copy = { 0 };

	int r = mvm_run_copy(values, &copy, err);
	if (r == 0 && fields & MVM_FIELD_ENV)
		r = set_env(&run->env, &values->env, err);
	if (r < 0)
		return r;
	if (fields & MVM_FIELD_COMMAND)
		SWAP(run->command, copy.command);
	if (fields & MVM_FIELD_WORKDIR)
		SWAP(run->workdir, copy.workdir);
	if (fields & MVM_FIELD_USER)
		SWAP(run->user, copy.user);
	if (fields & MVM_FIELD_NETWORK)
		run->network = copy.network;
	if (fields & MVM_FIELD_INITRD)
		run->initrd = copy.initrd;
	if (fields & MVM_FIELD_KERNEL)
		SWAP(run->kernel, copy.kernel);
	if (fields & MVM_FIELD_BOOT_ARGS)
		SWAP(run->boot_args, copy.boot_args);
	if (fields & MVM_FIELD_HEALTH)
		SWAP(run->health, copy.health);
	if (fields & MVM_FIELD_ON_RESTORE)
		SWAP(run->on_restore, copy.on_restore);
	run_tidy(run);
	return 0;
}

static void set_text(char **to, const char *from, bool *failed)
{
	char *copy = str_dup(from, failed);
	free(*to);
	*to = copy;
}

static int set_fields(struct mvm_template_spec *spec, const struct mvm_template_spec *values,
		      unsigned fields, struct mvm_error *err)
{
	bool failed = false;
	int r = 0;

	if (fields & MVM_FIELD_FLAKE_REF) {
		free(TAKE_PTR(spec->flake_ref));
		r = spec_flake_ref(values->flake_ref, &spec->flake_ref, err);
	}
	if (fields & MVM_FIELD_PROFILE)
		set_text(&spec->profile, values->profile, &failed);
	if (fields & MVM_FIELD_ROLE)
		set_text(&spec->role, values->role, &failed);
	if (fields & MVM_FIELD_VCPUS)
		spec->vcpus = values->vcpus;
	if (fields & MVM_FIELD_MEM_MIB)
		spec->mem_mib = values->mem_mib;
	if (fields & MVM_FIELD_DATA_DISK_MIB)
		spec->data_disk_mib = values->data_disk_mib;
	if (failed)
		return mvm_error_oom(err);
	if (r == 0)
		r = set_run(&spec->run, &values->run, fields, err);
	return r < 0 ? r : spec_check(spec, err);
}

int mvm_template_edit(struct mvm *mvm, const char *id, const struct mvm_template_spec *values,
		      unsigned fields, const struct mvm_progress *progress, struct mvm_error *err)
{
	AUTO_DONE(mvm_template_spec) old = { 0 };
	AUTO_DONE(mvm_template_spec) spec = { 0 };

	int r = store_spec_load(mvm->store, id, &old, err); /* before a lock file is made for it */
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
		r = set_fields(&spec, values, fields, err);
	if (r < 0)
		return r;
	r = spec_same(&old, &spec, err);
	if (r != 0)
		return r < 0 ? r : 0;
	spec.updated_at = clock_wall_ns() / NS_PER_S;
	r = store_spec_save(mvm->store, &spec, err);
	return r < 0 ? r : 1;
}
