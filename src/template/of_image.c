/* SPDX-License-Identifier: Apache-2.0 */
/* The template of an image in a registry, made when it is first asked for. */
#include <errno.h>
#include <mvm/build.h>
#include <mvm/store.h>
#include <string.h>

#include "base/error.h"
#include "base/extend.h"
#include "base/progress.h"
#include "codec/sha256.h"
#include "model/image_ref.h"
#include "model/model_json.h"
#include "model/name.h"
#include "pull/pull.h"
#include "start/context.h"
#include "store/revision.h"
#include "template/failed_snapshot.h"
#include "template/snapshot.h"
#include "template/spec_rules.h"

#define BUILD_OPTIONS_FIRST STRUCT_END(struct mvm_build_options, update_hash)

#define DIGITS	    12u /* of a digest, in a name */
#define HASH_DIGITS 8u

static bool is_same_image(const struct image_ref *a, const struct image_ref *b)
{
	if (!str_eq(a->host, b->host) || !str_eq(a->path, b->path) ||
	    a->has_digest != b->has_digest)
		return false;
	return a->has_digest ? digest_equal(&a->digest, &b->digest) : str_eq(a->tag, b->tag);
}

/* Whom a template's name belongs to: 1 the image, 0 nobody, -EEXIST another source, or -errno. */
static int look_at(struct mvm *mvm, const char *id, const struct image_ref *image,
		   struct mvm_error *err)
{
	AUTO_DONE(mvm_template_spec) spec = { 0 };
	AUTO_DONE(image_ref) other = { 0 };

	int r = store_template_exists(mvm->store, id, err);
	if (r > 0)
		r = store_spec_load(mvm->store, id, &spec, err) < 0 ? err->code : 1;
	if (r <= 0)
		return r;
	if (str_starts(spec.flake_ref, IMAGE_REF_SCHEME) &&
	    image_ref_parse(spec.flake_ref + strlen(IMAGE_REF_SCHEME), &other, NULL) == 0 &&
	    is_same_image(image, &other))
		return 1;
	return mvm_error_set(err, -EEXIST, "template '%s' has another source, '%s'", id,
			     spec.flake_ref);
}

/* "debian-12" for docker.io/library/debian:12; hashed: with digits that no other image has. */
static int make_id(const struct image_ref *image, bool hashed, char ret[MVM_TEMPLATE_ID_SIZE],
		   struct mvm_error *err)
{
	const char *slash = strrchr(image->path, '/');
	char hex[DIGEST_HEX_SIZE];
	struct mvm_digest digest;

	digest_hex(&image->digest, hex);
	AUTO_FREE char *whole = str_printf("%s/%s:%s@%s", image->host, image->path, image->tag,
					   hex);
	if (!whole)
		return mvm_error_oom(err);
	sha256_buf(whole, strlen(whole), &digest);
	const size_t room = MVM_TEMPLATE_ID_SIZE - (hashed ? HASH_DIGITS + 1 : 0);
	snprintf(ret, room, "%s-%.*s", slash ? slash + 1 : image->path,
		 image->has_digest ? (int)DIGITS : (int)MVM_TEMPLATE_ID_SIZE,
		 image->has_digest ? hex : image->tag);
	for (char *c = ret; *c; c++) {
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c - 'A' + 'a');
		else if (*c == '.')
			*c = '-';
	}
	if (hashed) {
		digest_hex(&digest, hex);
		snprintf(ret + strlen(ret), HASH_DIGITS + 2, "-%.*s", (int)HASH_DIGITS, hex);
	}
	return name_check(NAME_TEMPLATE, ret, err);
}

/* Find the name of the image's template.  1: it exists; 0: not yet. */
static int find_id(struct mvm *mvm, const struct image_ref *image, char ret[MVM_TEMPLATE_ID_SIZE],
		   struct mvm_error *err)
{
	struct mvm_error taken = { 0 };

	int r = make_id(image, false, ret, err);
	if (r == 0)
		r = look_at(mvm, ret, image, &taken);
	if (r != -EEXIST)
		return r < 0 && taken.code == r ? mvm_error_hand_on(err, &taken) : r;
	r = make_id(image, true, ret, err);
	return r < 0 ? r : look_at(mvm, ret, image, err);
}

/* Refuse a template that was pushed: it has its kernel, and perhaps a snapshot. */
static int check_kind(struct mvm *mvm, const char *image, const struct mvm_progress *progress,
		      struct mvm_error *err)
{
	AUTO(pull) p = NULL;

	int r = pull_open(mvm->store, image, 0, progress, &p, err);
	if (r == 0)
		r = pull_is_artifact(p, err);
	if (r <= 0)
		return r;
	r = mvm_error_set(err, -EOPNOTSUPP, "'%s' is a template of mvm's, and no image", image);
	return mvm_error_reason(err, r, "image-is-template", image);
}

static int create(struct mvm *mvm, const char *id, const char *image,
		  const struct image_ref *parsed, const struct mvm_progress *progress,
		  struct mvm_error *err)
{
	AUTO_FREE char *ref = str_printf(IMAGE_REF_SCHEME "%s", image);
	const char *const refs[] = { ref }, *const points[] = { "boot" };
	const struct mvm_template_setting settings[] = {
		{ .key = "flake_ref", .values = refs, .n_values = 1 },
		/* the image's command may be a shell that ends at once, or make keys */
		{ .key = "snapshot.point", .values = points, .n_values = 1 },
	};
	struct mvm_error why = { 0 };

	if (!ref)
		return mvm_error_oom(err);
	int r = mvm_template_create(mvm, id, settings, MVM_ARRAY_SIZE(settings), false, progress,
				    &why);
	if (r == -EEXIST) { /* another process has just made it, perhaps of another image */
		r = look_at(mvm, id, parsed, err);
		return r < 0 ? r : 0;
	}
	return r < 0 ? mvm_error_hand_on(err, &why) : 1;
}

/* Remove a template that this call has made, when nothing could be built for it: its image's name
 * may be mistyped. */
static void forget_unbuilt(struct mvm *mvm, const char *id)
{
	AUTO_DONE(strv) revisions = { 0 };
	if (store_revision_list(mvm->store, id, &revisions, NULL) == 0 && revisions.n == 0)
		mvm_template_delete(mvm, id, NULL, NULL); /* what stays is an empty template */
}

static int build(struct mvm *mvm, const char *id, const struct mvm_build_options *options,
		 const struct mvm_progress *progress, struct mvm_error *err)
{
	struct mvm_build_result result = MVM_BUILD_RESULT_INIT;
	struct mvm_build_options o = MVM_BUILD_OPTIONS_INIT;

	o.max_image_bytes = options->max_image_bytes;
	return mvm_template_build(mvm, id, &o, progress, &result, err);
}

/* Tell that VMs boot, and remember it if the next try would fail, too. */
static void note_failure(struct mvm *mvm, const char *id, const char *revision,
			 const struct mvm_error *why, const struct mvm_progress *progress)
{
	const char *last = strrchr(why->text, '\n'); /* below the guest's last words */
	const char *reason = last ? last + 1 : why->text;
	bool lasting = failed_snapshot_is_lasting(why->code);

	if (lasting)
		failed_snapshot_note(mvm->store, id, revision, reason);
	progress_note(progress, "%s: no snapshot, so it boots: %s%s", id, reason,
		      lasting ? " (later runs do not try again)" : "");
}

/* Another run may have made it while this one waited for the template. */
static int make_missing(struct mvm *mvm, const char *id, const char *backend,
			const struct mvm_progress *progress, struct mvm_error *err)
{
	const struct mvm_build_options o = { .snapshot = true, .backend = backend };
	struct mvm_build_result result = { 0 };
	AUTO_CLOSE int lock_fd = template_lock(mvm, id, "template snapshot", false, progress, err);
	int r = lock_fd < 0 ? lock_fd : store_current_find(mvm->store, id, result.revision, err);
	if (r < 0)
		return r;
	failed_snapshot_forget(mvm->store, id);
	return snapshot_ensure(mvm, id, &o, progress, &result, err);
}

/* Make the snapshot that is missing, perhaps because an earlier run was interrupted.  Without one
 * the template's VMs boot.  again: try also if it has failed before. */
static int snapshot(struct mvm *mvm, const char *id, const struct mvm_build_options *options,
		    bool again, const struct mvm_progress *progress, struct mvm_error *err)
{
	AUTO_DONE(mvm_template_revision) current = { 0 };
	char revision[MVM_REVISION_SIZE];
	struct mvm_error why = { 0 };

	int r = store_current_find(mvm->store, id, revision, err);
	if (r == 0)
		r = store_revision_load(mvm->store, id, revision, &current, NULL, err);
	if (r < 0 || current.has_snapshot)
		return r;
	AUTO_FREE char *before = again ? NULL : failed_snapshot_reason(mvm->store, id, revision);
	if (before) {
		progress_note(progress,
			      "%s: its snapshot failed in an earlier run, so it boots: %s", id,
			      before);
		return 0;
	}
	r = make_missing(mvm, id, options->backend, progress, &why);
	if (r == -ECANCELED)
		return mvm_error_hand_on(err, &why);
	if (r < 0)
		note_failure(mvm, id, revision, &why, progress);
	return 0;
}

int mvm_template_of_image(struct mvm *mvm, const char *image,
			  const struct mvm_build_options *options,
			  const struct mvm_progress *progress, char **ret_id, struct mvm_error *err)
{
	AUTO_DONE(image_ref) ref = { 0 };
	char id[MVM_TEMPLATE_ID_SIZE], revision[MVM_REVISION_SIZE];
	struct mvm_build_options taken;
	struct progress_watch watch;

	int r = mvm_struct_take(&taken, sizeof(taken), BUILD_OPTIONS_FIRST, options, err);
	if (r == 0)
		r = progress_take(&watch, &progress, err);
	if (r < 0)
		return r;
	bool again = taken.force;
	image = image_ref_bare(image);
	r = image_ref_parse(image, &ref, err);
	if (r == 0)
		r = find_id(mvm, &ref, id, err);
	if (r < 0)
		return r;
	if (r > 0 && !again)
		again = store_current_find(mvm->store, id, revision, NULL) < 0;
	bool fresh = r == 0;
	if (fresh)
		r = check_kind(mvm, image, progress, err);
	if (fresh && r == 0)
		r = create(mvm, id, image, &ref, progress, err);
	bool made = fresh && r > 0;
	if (r >= 0 && (fresh || again))
		r = build(mvm, id, &taken, progress, err);
	if (r < 0 && made)
		forget_unbuilt(mvm, id);
	if (r >= 0)
		r = snapshot(mvm, id, &taken, again, progress, err);
	if (r < 0)
		return r;
	char *copy = strdup(id);
	if (!copy)
		return mvm_error_oom(err);
	*ret_id = copy;
	return fresh || again;
}
