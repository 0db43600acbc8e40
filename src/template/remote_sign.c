/* SPDX-License-Identifier: Apache-2.0 */
/* Signs artifacts in registries, and tells who has signed them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/extend.h"
#include "base/progress.h"
#include "codec/sha256.h"
#include "model/image_ref.h"
#include "pull/pull.h"
#include "pull/remote.h"
#include "pull/session.h"
#include "store/keys.h"
#include "template/artifact.h"

/* ---- signing ---- */

/* A tag may move between the look at a snapshot, which is a running program, and its signature. */
static int check_snapshot(const struct image_ref *ref, const struct remote_about *about,
			  struct mvm_error *err)
{
	char digest[DIGEST_TEXT_SIZE];

	if (about->variants.n) {
		int r = mvm_error_set(err, -EPERM,
				      "'%s' has %zu snapshots, each with a manifest of its own: "
				      "sign those that are yours by their digests",
				      ref->path, about->variants.n);
		digest_text(&ref->digest, digest);
		AUTO_FREE char *subject = str_printf("%s/%s%c%s", ref->host, ref->path,
						     ref->has_digest ? '@' : ':',
						     ref->has_digest ? digest : ref->tag);
		return mvm_error_reason(err, r, "artifact-variants", subject);
	}
	if (!about->has_snapshot || ref->has_digest)
		return 0;
	digest_text(&about->digest, digest);
	int r = mvm_error_set(err, -EPERM,
			      "%s/%s:%s has a snapshot, a running program, and a tag may move",
			      ref->host, ref->path, ref->tag);
	return mvm_error_hint(err, r,
			      "if you know that this one is yours, sign it by its digest: %s/%s@%s",
			      ref->host, ref->path, digest);
}

/* Find the manifest at the registry itself. */
static int find_manifest(struct session *s, const struct image_ref *ref, struct index_part *ret,
			 struct mvm_error *err)
{
	AUTO_DONE(remote_about) about = { 0 };
	struct artifact_manifest parsed;
	char digest[DIGEST_TEXT_SIZE];

	if (ref->has_digest)
		digest_text(&ref->digest, digest);
	int r = remote_look(s, ref->has_digest ? digest : ref->tag, &about, err);
	if (r == 0)
		r = check_snapshot(ref, &about, err);
	if (r == 0)
		r = artifact_manifest_parse(about.text, about.len, ref->path, &parsed, err);
	if (r < 0)
		return r;
	*ret = (struct index_part){ about.digest, about.len };
	return 0;
}

static int sign(struct mvm *mvm, const char *text, const struct mvm_sign_options *options,
		const struct mvm_progress *progress, struct index_part *ret, struct mvm_error *err)
{
	const struct sign_with with = { options->key, options->sign_command };
	AUTO_DONE(image_ref) ref = { 0 };
	AUTO_DONE(session) s = SESSION_NONE;
	AUTO_DONE(signature) signature = { 0 };

	int r = image_ref_parse(image_ref_bare(text), &ref, err);
	if (r == 0 && !options->key)
		r = mvm_error_set(err, -EINVAL, "name the key to sign with");
	if (r == 0)
		r = session_open(store_path(mvm->store), ref.host, ref.path, true, progress, &s,
				 err);
	if (r == 0)
		r = find_manifest(&s, &ref, ret, err);
	if (r == 0)
		r = signature_make(mvm->store, &with, ret, progress, &signature, err);
	return r < 0 ? r : signature_attach(&s, &ret->digest, &signature, err);
}

int mvm_template_sign(struct mvm *mvm, const char *ref, const struct mvm_sign_options *options,
		      const struct mvm_progress *progress,
		      char ret_digest[MVM_ARTIFACT_DIGEST_SIZE], struct mvm_error *err)
{
	struct mvm_sign_options taken;
	struct index_part manifest;
	struct progress_watch watch;

	int r = mvm_struct_take(&taken, sizeof(taken),
				STRUCT_END(struct mvm_sign_options, sign_command), options, err);
	if (r == 0)
		r = progress_take(&watch, &progress, err);
	if (r == 0)
		r = sign(mvm, ref, &taken, progress, &manifest, err);
	if (r == 0 && ret_digest)
		digest_text(&manifest.digest, ret_digest);
	return r;
}

/* ---- verifying ---- */

void mvm_signature_info_free(struct mvm_signature_info *info)
{
	if (!info)
		return;
	free(info->repository);
	free(info->key);
	free(info->fingerprint);
	free(info->scope);
	free(info);
}
DEFINE_AUTO(mvm_signature_info, mvm_signature_info_free)

static int describe(const struct artifact *a, const char *repository, const struct key_info *key,
		    struct mvm_signature_info *info, struct mvm_error *err)
{
	struct index_part bundles[SIGNATURES_MAX];
	bool failed = false;

	info->repository = str_dup(repository, &failed);
	digest_text(&a->manifest.digest, info->digest);
	for (const char *const *name = artifact_snapshot_files; *name; name++)
		info->has_snapshot |= chunk_index_find(&a->index, *name) != NULL;
	info->n_signatures = artifact_bundles(a, bundles);
	if (key) {
		info->key = str_dup(key->name, &failed);
		info->fingerprint = str_dup(key->fingerprint, &failed);
		info->scope = str_dup(key->scope[0] ? key->scope : NULL, &failed);
	}
	return failed ? mvm_error_oom(err) : 0;
}

static int verify(struct mvm *mvm, const char *ref, const struct mvm_progress *progress,
		  struct mvm_signature_info *info, struct mvm_error *err)
{
	AUTO_DONE(staging) staging = STAGING_NONE;
	AUTO_DONE(artifact) a = ARTIFACT_NONE;
	AUTO(pull) p = NULL;
	struct variant_key keys[CONTEXT_KEYS_MAX];
	struct pull_found found;
	struct key_info key;

	int r = pull_open(mvm->store, image_ref_bare(ref), 0, progress, &p, err);
	if (r == 0)
		r = context_keys(mvm, progress, keys, err);
	if (r < 0)
		return r;
	pull_choose(p, keys, (size_t)r);
	r = pull_resolve(p, &found, err);
	if (r == 0)
		r = store_stage(mvm->store, &staging, err);
	if (r == 0)
		r = pull_artifact(p, &found.manifest, staging.fd, &a, err);
	if (r == 0)
		r = pull_signatures(p, staging.fd, &a, err);
	if (r == 0)
		r = keys_count_for(mvm->store, pull_name(p), &info->n_keys, err);
	if (r < 0)
		return r;
	int is_signed = artifact_signing_key(mvm->store, &a, pull_name(p), &key, err);
	if (is_signed < 0)
		return is_signed;
	r = describe(&a, pull_name(p), is_signed ? &key : NULL, info, err);
	return r < 0 ? r : is_signed;
}

int mvm_template_verify_remote(struct mvm *mvm, const char *ref,
			       const struct mvm_progress *progress, struct mvm_signature_info **ret,
			       struct mvm_error *err)
{
	AUTO(mvm_signature_info) info = calloc(1, sizeof(*info));
	struct progress_watch watch;

	int r = info ? progress_take(&watch, &progress, err) : mvm_error_oom(err);
	if (r == 0)
		r = verify(mvm, ref, progress, info, err);
	if (r >= 0)
		*ret = TAKE_PTR(info);
	return r;
}
