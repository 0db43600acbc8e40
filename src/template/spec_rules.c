/* SPDX-License-Identifier: Apache-2.0 */
#include "template/spec_rules.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/progress.h"
#include "model/flake_ref.h"
#include "model/name.h"
#include "model/run.h"
#include "start/disks.h"
#include "store/revision.h"

static int check_name(enum name_kind kind, const char *key, const char *value,
		      struct mvm_error *err)
{
	int r = name_check(kind, value ? value : "", err);
	return r < 0 ? mvm_error_context(err, r, "%s", key) : 0;
}

int spec_check(const struct mvm_template_spec *spec, struct mvm_error *err)
{
	const char *key = NULL;

	int r = check_name(NAME_TEMPLATE, "template_id", spec->template_id, err);
	if (r == 0)
		r = check_name(NAME_PROFILE, "profile", spec->profile, err);
	if (r == 0)
		r = check_name(NAME_ROLE, "role", spec->role, err);
	if (r == 0)
		r = mvm_machine_check(spec->vcpus, spec->mem_mib, err);
	if (r == 0)
		r = disks_check(spec->data_disk_mib, spec->root_disk_mib, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < spec->run.env.n; i++) {
		const char *v = spec->run.env.v[i];
		if (v[0] == '=' || !strchr(v, '='))
			return mvm_error_set(err, -EINVAL, "env: '%s' is not NAME=VALUE", v);
	}
	const char *problem = run_input_problem(&spec->run, &key);
	if (!problem)
		problem = run_conflict(&spec->run, &key);
	return problem ? mvm_error_set(err, -EINVAL, "%s: %s", key, problem) : 0;
}

static int format_as_of(const struct mvm_template_spec *spec, int64_t updated_at, char **ret,
			struct mvm_error *err)
{
	struct mvm_template_spec copy = *spec; /* borrows everything that spec points to */
	copy.updated_at = updated_at;
	return mvm_template_spec_format(&copy, ret, err);
}

int spec_same(const struct mvm_template_spec *a, const struct mvm_template_spec *b,
	      struct mvm_error *err)
{
	AUTO_FREE char *first = NULL;
	AUTO_FREE char *second = NULL;

	int r = format_as_of(a, 0, &first, err);
	if (r == 0)
		r = format_as_of(b, 0, &second, err);
	if (r < 0)
		return r;
	assert(first && second);
	return strcmp(first, second) == 0;
}

int spec_flake_ref(const char *ref, char **ret, struct mvm_error *err)
{
	AUTO_FREE char *here = getcwd(NULL, 0);
	if (!here)
		return mvm_error_set(err, -errno, "cannot find the working folder: %s",
				     strerror(errno));
	int r = flake_ref_absolute(ref ? ref : "", here, ret, err);
	return r < 0 ? mvm_error_context(err, r, "flake_ref") : 0;
}

int template_lock(struct mvm *mvm, const char *id, const char *what, bool no_wait,
		  const struct mvm_progress *progress, struct mvm_error *err)
{
	char holder[LOCK_HOLDER_SIZE] = "", name[MVM_TEMPLATE_ID_SIZE + 16];

	int r = name_check(NAME_TEMPLATE, id, err);
	if (r < 0)
		return r;
	int fd = store_lock_template(mvm->store, id, LOCK_NOWAIT, what, holder);
	if (fd == -EBUSY && no_wait) {
		r = mvm_error_set(err, fd, "template '%s' is locked by process %s", id, holder);
		return mvm_error_hint(err, r, "try again when that process is done");
	}
	if (fd == -EBUSY)
		progress_note(progress, "%s: waiting for process %s", id, holder);
	while (fd == -EBUSY) {
		fd = progress_check(progress, NULL);
		if (fd == 0)
			fd = store_await_template(mvm->store, id, progress);
		if (fd == 0)
			fd = store_lock_template(mvm->store, id, LOCK_NOWAIT, what, NULL);
	}
	if (fd == -ECANCELED)
		return mvm_error_set(err, fd, "waiting for template '%s' was cancelled", id);
	if (fd >= 0)
		return fd;
	snprintf(name, sizeof(name), "template.%s", id);
	return store_lock_failed(mvm->store, STORE_LOCKS, name, fd, err);
}
