/* SPDX-License-Identifier: Apache-2.0 */
/* Fetches the documents and blobs of a template's artifact. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "pull/pull_priv.h"
#include "pull/remote.h"

int pull_parts(struct pull *p, const struct index_part *parts, size_t n, int dir_fd,
	       struct mvm_error *err)
{
	AUTO_FREE struct oci_descriptor *layers = calloc(n + 1, sizeof(*layers));
	AUTO_CLOSE int dir = openat(dir_fd, PULL_BLOBS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (!layers)
		return mvm_error_oom(err);
	if (dir < 0)
		return mvm_error_set(err, -errno, "cannot open a folder in staging: %s",
				     strerror(errno));
	for (size_t i = 0; i < n; i++) {
		layers[i].digest = parts[i].digest;
		layers[i].size = parts[i].bytes;
	}
	return pull_layers(p, layers, n, dir, err);
}

int pull_artifact(struct pull *p, const struct mvm_digest *manifest, int dir_fd,
		  struct artifact *ret, struct mvm_error *err)
{
	struct artifact_manifest m;
	AUTO_FREE char *text = NULL;
	size_t len;

	AUTO_CLOSE int dir = pull_make_folder(dir_fd, err);
	if (dir < 0)
		return dir;
	int r = pull_take_turn(p, manifest, err);
	if (r == 0)
		r = pull_manifest(p, manifest, &text, &len, err);
	if (r == 0)
		r = artifact_manifest_parse(text, len, p->name, &m, err);
	if (r == 0)
		r = pull_store_document(p, dir, text, len, err);
	if (r < 0)
		return r;
	const struct index_part documents[] = { m.config, m.index };
	const struct index_part whole = { *manifest, len };
	r = pull_parts(p, documents, MVM_ARRAY_SIZE(documents), dir_fd, err);
	return r < 0 ? r : artifact_open_at(dir_fd, p->name, &whole, ret, err);
}

/* ---- signatures ---- */

struct referrers {
	const struct mvm_digest *subject;
	struct remote_lists lists;
};

static int get_referrers(struct session *s, void *arg, struct mvm_error *err)
{
	struct referrers *l = arg;
	remote_lists_done(&l->lists); /* of a mirror */
	return remote_referrers(s, l->subject, &l->lists, err);
}

/* List the manifests that may be signatures. */
static int list_signatures(struct pull *p, struct artifact *a, struct mvm_error *err)
{
	struct referrers l = { .subject = &a->manifest.digest };
	struct mvm_error why = { 0 };

	int r = pull_ask(p, get_referrers, &l, err);
	for (size_t i = 0; r >= 0 && i < l.lists.n; i++) {
		int bad = artifact_add_signatures(a, l.lists.v[i].text, l.lists.v[i].len, &why);
		if (bad < 0) /* another list may be good */
			progress_note(p->progress, "the signatures of %s cannot be read: %s",
				      p->name, why.text);
	}
	remote_lists_done(&l.lists);
	if (a->too_many_signatures)
		progress_note(p->progress,
			      "%s may have more signatures than the %u that mvm looks at", p->name,
			      a->n_signatures);
	return r;
}

/* Fetch these manifests.  A list may name some that are gone. */
static int fetch_signatures(struct pull *p, const struct artifact *a, int dir,
			    struct mvm_error *err)
{
	for (uint32_t i = 0; i < a->n_signatures; i++) {
		AUTO_FREE char *text = NULL;
		struct mvm_error why = { 0 };
		size_t len;
		int r = pull_manifest(p, &a->signatures[i].digest, &text, &len, &why);
		if (r == -ENOENT)
			continue;
		if (r == 0)
			r = pull_store_document(p, dir, text, len, &why);
		if (r < 0)
			return mvm_error_hand_on(err, &why);
	}
	return 0;
}

int pull_signatures(struct pull *p, int dir_fd, struct artifact *a, struct mvm_error *err)
{
	struct index_part bundles[SIGNATURES_MAX];
	struct mvm_error why = { 0 };

	int r = list_signatures(p, a, &why);
	AUTO_CLOSE int dir = openat(dir_fd, PULL_BLOBS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r == 0)
		r = fetch_signatures(p, a, dir, &why);
	if (r == 0)
		r = pull_parts(p, bundles, artifact_bundles(a, bundles), dir_fd, &why);
	if (r == -ECANCELED || r == -ENOMEM)
		return mvm_error_hand_on(err, &why);
	if (r < 0) /* what cannot be read signs nothing */
		progress_note(p->progress, "the signatures of %s cannot be read: %s", p->name,
			      why.text);
	return 0;
}

bool pull_must_be_signed(const struct pull *p)
{
	return p->must_be_signed;
}

const char *pull_name(const struct pull *p)
{
	return p->name;
}

const char *pull_place(const struct pull *p)
{
	return p->place;
}

const char *pull_short_name(const struct pull *p)
{
	const char *slash = strrchr(p->ref.path, '/');
	return slash ? slash + 1 : p->ref.path;
}
