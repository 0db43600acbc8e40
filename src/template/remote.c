/* SPDX-License-Identifier: Apache-2.0 */
/* Looks at repositories in registries, and deletes from them. */
#include "pull/remote.h"

#include <errno.h>
#include <mvm/registry.h>
#include <stdio.h>
#include <string.h>

#include "artifact/bundle.h"
#include "base/extend.h"
#include "codec/json.h"
#include "image/oci_manifest.h"
#include "model/image_ref.h"
#include "start/context.h"

/* ---- a repository ---- */

int mvm_remote_check(const char *ref, struct mvm_error *err)
{
	AUTO_DONE(image_ref) parsed = { 0 };
	return image_ref_parse(image_ref_bare(ref), &parsed, err);
}

struct remote {
	struct image_ref ref;
	bool names_one; /* the user gave a tag or digest */
	char *name;	/* "reg.example/team/web" */
	struct session session;
};
#define REMOTE_NONE                                                                                \
	{                                                                                          \
		.session = SESSION_NONE                                                            \
	}

static void remote_done(struct remote *m)
{
	session_done(&m->session);
	image_ref_done(&m->ref);
	free(m->name);
	*m = (struct remote)REMOTE_NONE;
}
DEFINE_AUTO_DONE(remote, remote_done)

static int remote_open(struct mvm *mvm, const char *text, unsigned rights,
		       const struct mvm_progress *progress, struct remote *ret,
		       struct mvm_error *err)
{
	const char *ref = image_ref_bare(text);
	const char *slash = strrchr(ref, '/');

	int r = image_ref_parse(ref, &ret->ref, err);
	if (r < 0)
		return r;
	ret->names_one = ret->ref.has_digest || strchr(slash ? slash : ref, ':');
	ret->name = str_printf("%s/%s", ret->ref.host, ret->ref.path);
	if (!ret->name)
		return mvm_error_oom(err);
	return session_open_as(store_path(mvm->store), ret->ref.host, ret->ref.path, rights, NULL,
			       progress, &ret->session, err);
}

/* ---- listing ---- */

static void tag_free(struct mvm_remote_tag *t)
{
	if (!t)
		return;
	free(t->tag);
	free(t->created);
	free(t->variants);
	free(t);
}
DEFINE_LIST_FREE(mvm_remote_list_free, mvm_remote_tag, tag_free)

static void add_variants(const struct variants *all, struct mvm_remote_tag *t, bool *failed)
{
	if (all->n == 0)
		return;
	t->variants = calloc(all->n, sizeof(*t->variants));
	*failed |= !t->variants;
	for (size_t i = 0; t->variants && i < all->n; i++) {
		const struct variant *v = &all->v[i];
		struct mvm_remote_variant *to = &t->variants[t->n_variants++];
		digest_text(&v->manifest.digest, to->digest);
		memcpy(to->cpu_hash, v->key.cpu, sizeof(to->cpu_hash));
		memcpy(to->backend_hash, v->key.backend, sizeof(to->backend_hash));
	}
}

static int add(struct session *s, const char *reference, bool is_tag, struct mvm_remote_tag **list,
	       size_t *n, struct mvm_error *err)
{
	AUTO_DONE(remote_about) about = { 0 };
	bool failed = false;

	int r = remote_look(s, reference, &about, err);
	if (r < 0)
		return r;
	struct mvm_remote_tag *t = calloc(1, sizeof(*t));
	if (!t)
		return mvm_error_oom(err);
	list[(*n)++] = t;
	t->tag = str_dup(is_tag ? reference : NULL, &failed);
	digest_text(&about.digest, t->digest);
	t->bytes = about.bytes;
	t->created = TAKE_PTR(about.created);
	t->is_template = about.is_template;
	t->has_snapshot = about.has_snapshot;
	add_variants(&about.variants, t, &failed);
	return failed ? mvm_error_oom(err) : 0;
}

/* Look at each of the tags.  One that goes away meanwhile is none. */
static int look_at_tags(struct remote *m, const struct strv *tags,
			const struct mvm_progress *progress, struct mvm_remote_tag **list,
			size_t *n, struct mvm_error *err)
{
	AUTO_DONE(progress_step) step = { 0 };

	progress_begin(&step, progress, "looking at %zu tag%s of %s", tags->n,
		       tags->n == 1 ? "" : "s", m->name);
	for (size_t i = 0; i < tags->n; i++) {
		struct mvm_error why = { 0 };
		int r = add(&m->session, tags->v[i], true, list, n, &why);
		if (r < 0 && r != -ENOENT)
			return mvm_error_hand_on(err, &why);
	}
	progress_end(&step, NULL);
	return 0;
}

int mvm_remote_list(struct mvm *mvm, const char *ref, const struct mvm_progress *progress,
		    struct mvm_remote_tag ***ret, size_t *ret_n, struct mvm_error *err)
{
	AUTO_DONE(remote) m = REMOTE_NONE;
	AUTO_DONE(strv) tags = { 0 };
	char digest[DIGEST_TEXT_SIZE];
	struct progress_watch watch;
	size_t n = 0;

	int r = progress_take(&watch, &progress, err);
	if (r == 0)
		r = remote_open(mvm, ref, 0, progress, &m, err);
	if (r == 0 && !m.names_one)
		r = remote_tags(&m.session, m.name, &tags, err);
	if (r < 0)
		return r;
	struct mvm_remote_tag **list = calloc(tags.n + 2, sizeof(*list));
	if (!list)
		return mvm_error_oom(err);
	if (m.ref.has_digest)
		digest_text(&m.ref.digest, digest);
	if (m.names_one)
		r = add(&m.session, m.ref.has_digest ? digest : m.ref.tag, !m.ref.has_digest, list,
			&n, err);
	else
		r = look_at_tags(&m, &tags, progress, list, &n, err);
	if (r < 0) {
		mvm_remote_list_free(list, n);
		return r;
	}
	*ret = list;
	*ret_n = n;
	return 0;
}

/* ---- deleting ---- */

/* Is this listed manifest a signature of the subject, and nothing else? */
static int is_signature(struct session *s, const struct mvm_digest *digest,
			const struct mvm_digest *subject, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	char reference[DIGEST_TEXT_SIZE];
	struct index_part bundle;
	size_t len;

	digest_text(digest, reference);
	int r = session_get(s, reference, &text, &len, err);
	return r < 0 ? r : signature_manifest_parse(text, len, subject, &bundle);
}

/* Delete a list's signatures.  Returns whether it listed nothing else, or -errno. */
static int delete_listed(struct session *s, const struct remote_list *list,
			 const struct mvm_digest *subject, struct mvm_error *err)
{
	AUTO_DONE(oci_index) index = { 0 };
	bool all = true;

	int r = oci_index_parse(list->text, list->len, "the list of signatures", &index, err);
	for (size_t i = 0; r == 0 && i < index.n; i++) {
		const struct oci_descriptor *d = &index.manifests[i];
		struct mvm_error why = { 0 };
		int is = d->problem ? 0 : is_signature(s, &d->digest, subject, &why);
		if (is == -ENOENT) /* the registry has removed it with its subject */
			continue;
		r = is < 0 ? mvm_error_hand_on(err, &why) : 0;
		if (is > 0)
			r = session_delete(s, &d->digest, err);
		all &= is != 0;
	}
	return r < 0 ? r : all;
}

/* Signatures of a deleted manifest serve nobody. */
static int delete_signatures(struct session *s, const struct mvm_digest *subject,
			     const struct remote_lists *lists, struct mvm_error *err)
{
	for (size_t i = 0; i < lists->n; i++) {
		const struct remote_list *list = &lists->v[i];
		struct mvm_digest digest;
		int r = delete_listed(s, list, subject, err);
		if (r > 0 && list->is_tagged) {
			sha256_buf(list->text, list->len, &digest);
			r = session_delete(s, &digest, err);
		}
		if (r < 0 && r != -ENOENT)
			return r;
	}
	return 0;
}

int mvm_remote_delete(struct mvm *mvm, const char *ref, const struct mvm_progress *progress,
		      struct mvm_error *err)
{
	AUTO_DONE(remote) m = REMOTE_NONE;
	AUTO_DONE(remote_about) about = { 0 };
	AUTO_DONE(remote_lists) lists = { 0 };
	struct mvm_error why = { 0 };
	struct progress_watch watch;

	int r = progress_take(&watch, &progress, err);
	if (r == 0)
		r = remote_open(mvm, ref, SESSION_DELETE, progress, &m, err);
	if (r == 0 && !m.names_one)
		r = mvm_error_set(err, -EINVAL, "'%s': name a tag or a digest", ref);
	if (r == 0 && m.ref.has_digest)
		about.digest = m.ref.digest;
	else if (r == 0)
		r = remote_look(&m.session, m.ref.tag, &about, err);
	if (r < 0)
		return r;
	int found = remote_referrers(&m.session, &about.digest, &lists, &why);
	r = session_delete(&m.session, &about.digest, err);
	if (r == 0 && found == 0)
		found = delete_signatures(&m.session, &about.digest, &lists, &why);
	if (r == 0 && found < 0)
		progress_note(progress, "its signatures may still be there: %s", why.text);
	return r;
}
