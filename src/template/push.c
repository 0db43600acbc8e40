/* SPDX-License-Identifier: Apache-2.0 */
/* Revisions to registries, and back. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/extend.h"
#include "base/file.h"
#include "base/progress.h"
#include "codec/sha256.h"
#include "model/image_ref.h"
#include "model/name.h"
#include "pull/pull.h"
#include "pull/session.h"
#include "start/facts.h"
#include "store/keys.h"
#include "template/artifact.h"
#include "template/pull_files.h"
#include "template/push_tag.h"

#define BLOB_NEW "new"

/* ---- push ---- */

struct pushing {
	struct staging staging;	    /* has the blobs, by their digests */
	int fd;			    /* of the blob in the making */
	struct blob_list blobs;	    /* first those of the artifact, its manifest last */
	size_t manifest;	    /* its place among the blobs */
	struct signature signature; /* empty: none */
	struct image_ref to;
	struct session session;
	struct progress_step step;
};

static void pushing_done(struct pushing *p)
{
	if (p->fd >= 0)
		close(p->fd);
	session_done(&p->session);
	image_ref_done(&p->to);
	signature_done(&p->signature);
	staging_done(&p->staging);
	progress_failed(&p->step);
}
DEFINE_AUTO_DONE(pushing, pushing_done)

static int blob_failed(int r, struct mvm_error *err)
{
	return mvm_error_set(err, r, "cannot write a blob: %s", strerror(-r));
}

static int blob_begin(void *arg, struct mvm_error *err)
{
	struct pushing *p = arg;

	p->fd = openat(p->staging.fd, BLOB_NEW, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return p->fd < 0 ? blob_failed(-errno, err) : 0;
}

static int blob_add(void *arg, const void *data, size_t len, struct mvm_error *err)
{
	const struct pushing *p = arg;
	int r = file_write_all(p->fd, data, len);
	return r < 0 ? blob_failed(r, err) : 0;
}

static int blob_end(void *arg, const struct mvm_digest *digest, uint64_t bytes,
		    struct mvm_error *err)
{
	struct pushing *p = arg;
	char hex[DIGEST_HEX_SIZE];

	close(TAKE_FD(p->fd));
	digest_hex(digest, hex);
	if (renameat(p->staging.fd, BLOB_NEW, p->staging.fd, hex) < 0)
		return blob_failed(-errno, err);
	int r = blob_list_add(&p->blobs, digest, bytes);
	return r < 0 ? blob_failed(r, err) : 0;
}

static int open_blob(const struct pushing *p, const struct index_part *blob, struct mvm_error *err)
{
	char hex[DIGEST_HEX_SIZE];

	digest_hex(&blob->digest, hex);
	int fd = openat(p->staging.fd, hex, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? blob_failed(-errno, err) : fd;
}

/* Put a manifest under a name. */
static int put_manifest(struct pushing *p, size_t i, const char *name, struct mvm_error *err)
{
	AUTO_CLOSE int fd = open_blob(p, &p->blobs.v[i], err);
	return fd < 0 ? fd
		      : session_put(&p->session, name, ARTIFACT_MANIFEST_TYPE, fd,
				    p->blobs.v[i].bytes, err);
}

/* Find out which blobs the repository lacks, and put them. */
static int upload_blobs(struct pushing *p, const struct mvm_progress *progress,
			struct mvm_artifact_result *result, struct mvm_error *err)
{
	bool missing[MVM_ARRAY_SIZE(p->blobs.v)] = { false };
	char moved[24], all[24];

	for (size_t i = 0; i < p->blobs.n; i++) {
		int r = i != p->manifest ? session_has(&p->session, &p->blobs.v[i].digest, err) : 1;
		if (r < 0)
			return r;
		missing[i] = r == 0;
		result->blob_bytes += p->blobs.v[i].bytes;
		result->moved_bytes += missing[i] ? p->blobs.v[i].bytes : 0;
	}
	str_bytes(result->moved_bytes, moved, sizeof(moved));
	str_bytes(result->blob_bytes, all, sizeof(all));
	progress_begin(&p->step, progress, "pushing %s of %s to %s/%s", moved, all, p->to.host,
		       p->to.path);
	p->step.total_bytes = result->moved_bytes;
	for (size_t i = 0; i < p->blobs.n; i++) {
		if (!missing[i])
			continue;
		AUTO_CLOSE int fd = open_blob(p, &p->blobs.v[i], err);
		int r = fd < 0 ? fd
			       : session_upload(&p->session, &p->blobs.v[i].digest, fd,
						p->blobs.v[i].bytes, &p->step, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Put the tag: the last step, after which others find what is there. */
static int tag(struct pushing *p, const struct mvm_template_revision *rev,
	       const struct mvm_progress *progress, struct mvm_artifact_result *result,
	       struct mvm_error *err)
{
	const struct index_part *manifest = &p->blobs.v[p->manifest];
	const struct mvm_strings *compat = &rev->snapshot.compat;
	AUTO_FREE char *name = str_printf("%s/%s:%s", p->to.host, p->to.path, p->to.tag);

	AUTO_CLOSE int fd = name ? open_blob(p, manifest, err) : mvm_error_oom(err);
	if (fd < 0)
		return fd;
	struct push_tag what = { .name = name,
				 .tag = p->to.tag,
				 .revision = rev->revision_hash,
				 .mine.manifest = *manifest,
				 .fd = fd,
				 .has_snapshot = result->has_snapshot };
	if (what.has_snapshot)
		facts_key(compat->v, compat->n, &what.mine.key);
	return push_tag(&p->session, &what, progress, &result->n_variants, err);
}

/* The signature is there before the tag names what it signs. */
static int upload(struct pushing *p, const struct mvm_template_revision *rev,
		  const struct mvm_progress *progress, struct mvm_artifact_result *result,
		  struct mvm_error *err)
{
	char digest[DIGEST_TEXT_SIZE];

	digest_text(&p->blobs.v[p->manifest].digest, digest);
	int r = upload_blobs(p, progress, result, err);
	if (r == 0 && p->signature.manifest) {
		r = put_manifest(p, p->manifest, digest, err);
		if (r == 0)
			r = signature_attach(&p->session, &p->blobs.v[p->manifest].digest,
					     &p->signature, err);
	}
	if (r == 0)
		r = tag(p, rev, progress, result, err);
	if (r == 0)
		progress_end(&p->step, NULL);
	return r;
}

static int push(struct mvm *mvm, const char *ref, const char *to,
		const struct mvm_push_options *options, const struct mvm_progress *progress,
		struct mvm_artifact_result *result, struct mvm_error *err)
{
	AUTO_DONE(pushing) p = { .staging = STAGING_NONE, .fd = -1, .session = SESSION_NONE };
	const struct blob_sink sink = {
		.begin = blob_begin, .write = blob_add, .end = blob_end, .arg = &p
	};
	AUTO_DONE(revision) rev = REVISION_NONE;
	const struct sign_with with = { options->key, options->sign_command };
	struct index_part manifest;

	int r = image_ref_parse(image_ref_bare(to), &p.to, err);
	if (r == 0 && p.to.has_digest)
		r = mvm_error_set(err, -EINVAL, "'%s': name a tag to push to, no digest", to);
	if (r == 0)
		r = revision_open(mvm, ref, &rev, err);
	if (r == 0 && options->key)
		r = artifact_may_sign(mvm->store, &with, &rev, options->image_only, err);
	if (r == 0)
		r = store_stage(mvm->store, &p.staging, err);
	if (r == 0)
		r = artifact_make(mvm->store, &rev, options->image_only, &sink, progress, &manifest,
				  result, err);
	if (r == 0)
		p.manifest = p.blobs.n - 1;
	if (r == 0 && options->key)
		r = signature_make(mvm->store, &with, &manifest, progress, &p.signature, err);
	if (r == 0)
		r = session_open(store_path(mvm->store), p.to.host, p.to.path, true, progress,
				 &p.session, err);
	if (r == 0)
		r = upload(&p, &rev.rev, progress, result, err);
	if (r == 0)
		snprintf(result->template_id, sizeof(result->template_id), "%s", rev.id);
	return store_mend(mvm->store, r, err);
}

int mvm_template_push(struct mvm *mvm, const char *ref, const char *to,
		      const struct mvm_push_options *options, const struct mvm_progress *progress,
		      struct mvm_artifact_result *ret, struct mvm_error *err)
{
	struct mvm_artifact_result result = { 0 };
	struct mvm_push_options taken;
	struct progress_watch watch;

	int r = mvm_struct_take(&taken, sizeof(taken), STRUCT_END(struct mvm_push_options, key),
				options, err);
	if (r == 0)
		r = progress_take(&watch, &progress, err);
	if (r == 0)
		r = push(mvm, ref, to, &taken, progress, &result, err);
	if (r == 0)
		artifact_result_give(ret, &result);
	return r;
}
