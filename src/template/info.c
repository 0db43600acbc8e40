/* SPDX-License-Identifier: Apache-2.0 */
/* Everything about one template and one revision, as a struct and as JSON. */
#include <errno.h>
#include <fcntl.h>
#include <mvm/store.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/progress.h"
#include "model/model_json.h"
#include "start/start.h"
#include "store/trust.h"
#include "template/history.h"
#include "template/settings.h"

/* A template and one of its revisions, with what this host would do with it. */
struct details {
	struct mvm_template_spec spec;
	bool has_revision; /* what follows is set only then */
	bool is_current;
	struct mvm_template_revision revision;
	char cache_key[MVM_CACHE_KEY_SIZE];
	uint64_t disk_bytes;
	bool kind_is_snapshot;
	enum mvm_start_outlook start;
	char *backend, *start_reason;
	char *changed_file;
};

static void details_done(struct details *d)
{
	mvm_template_spec_done(&d->spec);
	mvm_template_revision_done(&d->revision);
	free(d->backend);
	free(d->start_reason);
	free(d->changed_file);
	*d = (struct details){ 0 };
}
DEFINE_AUTO_DONE(details, details_done)

/* Would this host restore the revision, or boot it?  unsound: a fault of its files, or NULL. */
static int look_ahead(struct mvm *mvm, const struct revision *revision,
		      const struct mvm_error *unsound, const struct mvm_progress *progress,
		      struct details *d, struct mvm_error *err)
{
	AUTO_DONE(start_plan) plan = { 0 };
	AUTO_DONE(vmm_probe) probe = { 0 };
	struct mvm_error why = { 0 };
	const struct vmm_ops *ops = NULL;
	bool failed = false;

	int r = context_backend(mvm, NULL, &revision->rev, progress, &ops, &probe, &why);
	if (r == -ECANCELED)
		return mvm_error_hand_on(err, &why);
	if (r == 0)
		d->backend = str_dup(ops->name, &failed);
	const struct start_request request = {
		.revision = revision,
		.ops = ops,
		.probe = &probe,
		.options = &start_for_ourselves,
	};
	if (r == 0) {
		AUTO_DONE(mvm_template_kind) kind = { 0 };
		r = mvm_template_kind_of(&revision->rev, ops->name, ops->caps.snapshots, &kind,
					 &why);
		d->kind_is_snapshot = kind.is_snapshot;
	}
	if (r == 0 && unsound) {
		why = *unsound;
		r = why.code;
	}
	if (r == 0)
		r = start_decide(&request, &plan, &why);
	if (r == -ENOMEM || failed)
		return mvm_error_oom(err);
	if (r < 0)
		d->start = MVM_START_IMPOSSIBLE;
	else
		d->start = plan.restore ? MVM_START_WOULD_RESTORE : MVM_START_WOULD_BOOT;
	d->start_reason = str_dup(r < 0 ? why.text : plan.reason, &failed);
	d->changed_file = str_dup(store_trust_changed(revision->dir_fd, &revision->sums), &failed);
	return failed ? mvm_error_oom(err) : 0;
}

static int load_revision(struct mvm *mvm, const char *ref, const char *current,
			 const struct mvm_progress *progress, struct details *d,
			 struct mvm_error *err)
{
	AUTO_DONE(revision) revision = REVISION_NONE;
	char id[MVM_TEMPLATE_ID_SIZE], hash[MVM_REVISION_SIZE];
	struct mvm_error unsound = { 0 };

	/* without a lease: no VM starts, and open files stay readable when they are removed */
	int r = store_template_resolve(mvm->store, ref, id, hash, err);
	if (r < 0)
		return r;
	r = revision_look(mvm, id, hash, &revision, &unsound);
	if (r == -EBADMSG &&
	    store_revision_load(mvm->store, id, hash, &revision.rev, &revision.dir_fd, NULL) == 0 &&
	    faccessat(revision.dir_fd, "checksums.json", F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		r = 0; /* another program's revision: it can be shown, though not run */
	if (r < 0) {
		if (err)
			*err = unsound;
		return r;
	}
	r = look_ahead(mvm, &revision, unsound.code < 0 ? &unsound : NULL, progress, d, err);
	if (r < 0)
		return r;
	d->has_revision = true;
	d->is_current = str_eq(hash, current);
	d->disk_bytes = revision_disk_bytes(revision.dir_fd);
	mvm_template_revision_cache_key(&revision.rev, d->cache_key);
	d->revision = revision.rev;
	revision.rev = (struct mvm_template_revision){ 0 };
	return 0;
}

static int look_up(struct mvm *mvm, const char *ref, const struct mvm_progress *progress,
		   struct details *ret, struct mvm_error *err)
{
	AUTO_DONE(details) d = { 0 };
	char current[MVM_REVISION_SIZE] = "";
	size_t len = strcspn(ref, "@");
	AUTO_FREE char *id = strndup(ref, len);

	if (!id)
		return mvm_error_oom(err);
	int r = store_spec_load(mvm->store, id, &d.spec, err);
	if (r < 0)
		return r;
	struct mvm_error why = { 0 };
	r = store_current_get(mvm->store, id, current, &why);
	if (ref[len] || r == 0) /* a damaged link is an error only if it is needed */
		r = load_revision(mvm, ref, current, progress, &d, err);
	else if (r != -ENOENT)
		r = mvm_error_hand_on(err, &why);
	else
		r = 0; /* not built yet */
	if (r < 0)
		return r;
	*ret = d;
	d = (struct details){ 0 };
	return 0;
}

/* ---- as a struct ---- */

void mvm_template_details_free(struct mvm_template_details *d)
{
	if (!d)
		return;
	char *const strings[] = {
		d->template_id, d->flake_ref,	      d->profile,      d->role,
		d->revision,	d->builder,	      d->built_from,   d->lock,
		d->backend,	d->start_reason,      d->changed_file, d->instance,
		d->base,	d->snapshot_signed_by
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(strings); i++)
		free(strings[i]);
	settings_free(d->settings, d->n_settings);
	free(d);
}
DEFINE_AUTO(mvm_template_details, mvm_template_details_free)

static void tell_revision(struct details *d, struct mvm_template_details *ret, bool *failed)
{
	const struct mvm_template_revision *rev = &d->revision;
	const struct mvm_artifact_sizes *sizes = &rev->artifact_paths.sizes;

	ret->revision = str_dup(rev->revision_hash, failed);
	ret->is_current = d->is_current;
	ret->built_at = rev->built_at;
	ret->builder = str_dup(rev->build.builder, failed);
	ret->built_from = str_dup(rev->flake_ref, failed);
	ret->lock = str_dup(rev->flake_lock_hash, failed);
	memcpy(ret->cache_key, d->cache_key, sizeof(ret->cache_key));
	ret->built_vcpus = rev->vcpus;
	ret->built_mem_mib = rev->mem_mib;
	ret->built_data_disk_mib = rev->data_disk_mib;
	ret->built_root_disk_mib = rev->root_disk_mib;
	ret->rootfs_bytes = sizes->rootfs_bytes;
	ret->vmlinux_bytes = sizes->vmlinux_bytes;
	ret->initrd_bytes = sizes->initrd_bytes;
	ret->disk_bytes = d->disk_bytes;
	ret->has_snapshot = rev->has_snapshot;
	ret->snapshot_at = rev->snapshot.created_at;
	ret->snapshot_signed_by = str_dup(rev->snapshot.signed_by, failed);
	ret->snapshot_mem_bytes = rev->snapshot.mem_size_bytes;
	ret->snapshot_state_bytes = rev->snapshot.vmstate_size_bytes;
	ret->kind_is_snapshot = d->kind_is_snapshot;
	ret->start = d->start;
	ret->backend = TAKE_PTR(d->backend);
	ret->start_reason = TAKE_PTR(d->start_reason);
	ret->changed_file = TAKE_PTR(d->changed_file);
	ret->instance = str_dup(rev->build.instance, failed);
	ret->base = str_dup(rev->build.base, failed);
}

int mvm_template_details(struct mvm *mvm, const char *ref, const struct mvm_progress *progress,
			 struct mvm_template_details **ret, struct mvm_error *err)
{
	AUTO_DONE(details) d = { 0 };
	struct progress_watch watch;
	AUTO(mvm_template_details) details = calloc(1, sizeof(*details));
	bool failed = false;

	if (!details)
		return mvm_error_oom(err);
	int r = progress_take(&watch, &progress, err);
	if (r == 0)
		r = look_up(mvm, ref, progress, &d, err);
	if (r < 0)
		return r;
	details->template_id = str_dup(d.spec.template_id, &failed);
	details->flake_ref = str_dup(d.spec.flake_ref, &failed);
	details->profile = str_dup(d.spec.profile, &failed);
	details->role = str_dup(d.spec.role, &failed);
	details->vcpus = d.spec.vcpus;
	details->mem_mib = d.spec.mem_mib;
	details->data_disk_mib = d.spec.data_disk_mib;
	details->root_disk_mib = d.spec.root_disk_mib;
	details->created_at = d.spec.created_at;
	details->updated_at = d.spec.updated_at;
	failed |= settings_of_run(&d.spec.run, &details->settings, &details->n_settings) < 0;
	if (d.has_revision)
		tell_revision(&d, details, &failed);
	if (failed)
		return mvm_error_oom(err);
	*ret = TAKE_PTR(details);
	return 0;
}

/* ---- as JSON ---- */

const char *mvm_start_outlook_name(enum mvm_start_outlook start)
{
	static const char *const names[] = {
		[MVM_START_IMPOSSIBLE] = "none",
		[MVM_START_WOULD_BOOT] = "boot",
		[MVM_START_WOULD_RESTORE] = "restore",
	};
	return (size_t)start < MVM_ARRAY_SIZE(names) ? names[start] : "?";
}

static json_t *start_json(const struct details *d)
{
	return json_pack("{s:s?, s:s, s:s?}", "backend", d->backend, "start",
			 mvm_start_outlook_name(d->start), "reason", d->start_reason);
}

int mvm_template_info(struct mvm *mvm, const char *ref, const struct mvm_progress *progress,
		      char **ret_json, struct mvm_error *err)
{
	AUTO_DONE(details) d = { 0 };
	struct json_out out = { 0 };
	struct progress_watch watch;

	int r = progress_take(&watch, &progress, err);
	if (r == 0)
		r = look_up(mvm, ref, progress, &d, err);
	if (r < 0)
		return r;
	json_t *o = json_new(&out);
	json_put(&out, o, "spec", template_spec_json(&out, &d.spec));
	if (!d.has_revision) {
		json_put(&out, o, "revision", json_null());
		json_put(&out, o, "kind", json_null());
		return json_out_text(&out, o, JSON_TEXT_PRETTY, ret_json, err);
	}
	const struct mvm_template_kind kind = {
		.is_snapshot = d.kind_is_snapshot, .snapshot = d.revision.snapshot, /* lent */
	};
	json_put(&out, o, "revision", template_revision_json(&out, &d.revision));
	json_put(&out, o, "current", json_boolean(d.is_current));
	json_put(&out, o, "kind", template_kind_json(&out, &kind));
	json_put_string(&out, o, "cache_key", d.cache_key);
	json_put_u64(&out, o, "disk_bytes", d.disk_bytes);
	json_put(&out, o, "run", start_json(&d));
	json_put(&out, o, "changed_file",
		 d.changed_file ? json_string(d.changed_file) : json_null());
	return json_out_text(&out, o, JSON_TEXT_PRETTY, ret_json, err);
}
