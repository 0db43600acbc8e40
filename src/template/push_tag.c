/* SPDX-License-Identifier: Apache-2.0 */
#include "template/push_tag.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "codec/sha256.h"
#include "pull/remote.h"
#include "start/facts.h"

#define TRIES_MAX     6u
#define LOOK_AGAIN_MS 250
#define LOOK_MAX_MS   10000

DEFINE_AUTO_DONE(mvm_template_revision, mvm_template_revision_done)

/* What a tag names. */
struct seen {
	bool exists;
	struct variants all; /* n 0: nothing that a variant of this revision can stand beside */
};

/* ---- looking ---- */

/* Does this error of a look say that the tag names no template?  A push replaces that.  Any other
 * error, such as a registry that does not answer, ends the push. */
static bool is_something_else(int r)
{
	return r == -EBADMSG || r == -EOPNOTSUPP || r == -EFBIG || r == -ENOENT;
}

/* One manifest stands alone: its configuration says which hosts its snapshot is for. */
static int look_at_one(struct session *s, const char *text, size_t len, struct variants *ret,
		       struct mvm_error *err)
{
	AUTO_DONE(mvm_template_revision) rev = { 0 };
	AUTO_FREE char *config = NULL;
	struct artifact_manifest m;
	struct variant v = { .manifest.bytes = len };
	size_t config_len;

	int r = artifact_manifest_parse(text, len, "manifest", &m, err);
	if (r == 0)
		r = remote_blob(s, &m.config, "its configuration", &config, &config_len, err);
	if (r == 0)
		r = mvm_template_revision_parse(config, config_len, "its configuration", &rev, err);
	if (r < 0 || !rev.has_snapshot || strlen(rev.revision_hash) >= sizeof(ret->revision))
		return r;
	sha256_buf(text, len, &v.manifest.digest);
	facts_key(rev.snapshot.compat.v, rev.snapshot.compat.n, &v.key);
	memcpy(ret->revision, rev.revision_hash, strlen(rev.revision_hash) + 1);
	return variants_add(ret, &v);
}

static int look(struct session *s, const struct push_tag *what, struct seen *ret,
		struct mvm_error *err)
{
	struct seen seen = { .exists = true };
	struct mvm_error why = { 0 };
	AUTO_FREE char *text = NULL;
	size_t len;

	int r = session_get(s, what->tag, &text, &len, &why);
	if (r == -ENOENT) {
		*ret = (struct seen){ 0 };
		return 0;
	}
	if (r == 0) {
		r = variants_parse(text, len, "index", &seen.all, &why);
		if (r == 0)
			r = look_at_one(s, text, len, &seen.all, &why);
		if (is_something_else(r))
			r = 0;
	}
	if (r < 0)
		return mvm_error_hand_on(err, &why);
	if (!str_eq(seen.all.revision, what->revision))
		seen.all = (struct variants){ 0 };
	*ret = seen;
	return 0;
}

/* The manifest for the same kind of host; zero: none. */
static struct mvm_digest find_like(const struct variants *all, const struct variant *v)
{
	const struct variant *found = variants_find(all, &v->key, 1);
	return found ? found->manifest.digest : (struct mvm_digest){ 0 };
}

/* ---- putting ---- */

static int put_index(struct session *s, const struct push_tag *what, const struct variants *all,
		     struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;

	int r = variants_format(all, &text, err);
	if (r < 0)
		return r;
	AUTO_CLOSE int fd = file_in_memory(text, strlen(text));
	if (fd < 0)
		return mvm_error_set(err, fd, "cannot make a file in memory: %s", strerror(-fd));
	return session_put(s, what->tag, ARTIFACT_LIST_TYPE, fd, strlen(text), err);
}

/* Forget variants that somebody has deleted: a registry takes no index that names them. */
static bool forget_deleted(struct session *s, struct variants *all)
{
	char digest[DIGEST_TEXT_SIZE];
	struct mvm_digest told;
	size_t n = 0;

	for (size_t i = 0; i < all->n; i++) {
		digest_text(&all->v[i].manifest.digest, digest);
		if (session_head(s, digest, &told, NULL) != -ENOENT)
			all->v[n++] = all->v[i];
	}
	bool some = n < all->n;
	all->n = n;
	return some;
}

static int put_manifest(struct session *s, const struct push_tag *what, const char *name,
			struct mvm_error *err)
{
	return session_put(s, name, ARTIFACT_MANIFEST_TYPE, what->fd, what->mine.manifest.bytes,
			   err);
}

/* Put the manifest, or an index of it and the others.  ret: what the tag names then. */
static int put(struct session *s, const struct push_tag *what, const struct variants *others,
	       struct variants *ret, struct mvm_error *err)
{
	char digest[DIGEST_TEXT_SIZE];
	struct mvm_error why = { 0 };

	*ret = *others;
	memcpy(ret->revision, what->revision, strlen(what->revision) + 1);
	if (variants_add(ret, &what->mine) < 0)
		return mvm_error_set(err, -E2BIG,
				     "%s has snapshots for %u kinds of hosts, and takes no more",
				     what->name, VARIANTS_MAX);
	if (ret->n == 1)
		return put_manifest(s, what, what->tag, err);
	digest_text(&what->mine.manifest.digest, digest);
	int r = put_manifest(s, what, digest, err);
	if (r < 0)
		return r;
	r = put_index(s, what, ret, &why);
	if (r == -EREMOTEIO && forget_deleted(s, ret))
		return ret->n == 1 ? put_manifest(s, what, what->tag, err)
				   : put_index(s, what, ret, err);
	return r < 0 ? mvm_error_hand_on(err, &why) : 0;
}

/* Wait for pushes at the same time to have put theirs.  They take about as long as this one took
 * from its look to its put, and longer the more of them there are. */
static int wait_a_moment(unsigned tries, int64_t took_ns, const struct mvm_progress *progress,
			 struct mvm_error *err)
{
	const int64_t least_ns = LOOK_AGAIN_MS * NS_PER_MS, most_ns = LOOK_MAX_MS * NS_PER_MS;
	int64_t wait_ns = (2 * took_ns > least_ns ? 2 * took_ns : least_ns)
			  << (tries < 3 ? tries : 3);
	uint16_t more;

	if (wait_ns > most_ns) /* the registry has made this push wait */
		wait_ns = most_ns;
	random_bytes(&more, sizeof(more));
	wait_ns += wait_ns / 1024 * (more % 1024);
	int r = progress_wait(progress, -1, clock_now_ns() + wait_ns);
	return r == -ECANCELED ? mvm_error_cancelled(err, "the push") : 0;
}

/* Is the push done?  Another push may have put another revision, or a snapshot for the same kind of
 * host that is neither ours nor the one that ours replaces: it came later, and stays. */
static bool is_done(const struct push_tag *what, const struct seen *seen,
		    const struct mvm_digest *replaced, const struct mvm_progress *progress)
{
	const struct mvm_digest found = find_like(&seen->all, &what->mine);

	if (digest_equal(&found, &what->mine.manifest.digest))
		return true;
	bool later = replaced && seen->exists &&
		     (seen->all.n == 0 ||
		      (!mem_is_zero(&found, sizeof(found)) && !digest_equal(&found, replaced)));
	if (later)
		progress_note(progress, "%s names something else already: another push came later",
			      what->name);
	return later;
}

int push_tag(struct session *s, const struct push_tag *what, const struct mvm_progress *progress,
	     size_t *ret_variants, struct mvm_error *err)
{
	struct mvm_digest replaced;
	struct variants put_last;
	struct seen seen = { 0 };

	*ret_variants = 0;
	if (!what->has_snapshot)
		return put_manifest(s, what, what->tag, err);
	for (unsigned tries = 0; tries <= TRIES_MAX; tries++) {
		int64_t began_ns = clock_now_ns();
		int r = look(s, what, &seen, err);
		if (r < 0)
			return r;
		*ret_variants = seen.all.n;
		if (is_done(what, &seen, tries ? &replaced : NULL, progress))
			return 0;
		if (tries == 0)
			replaced = find_like(&seen.all, &what->mine);
		if (tries < TRIES_MAX) {
			r = put(s, what, &seen.all, &put_last, err);
			if (r == 0)
				r = wait_a_moment(tries, clock_now_ns() - began_ns, progress, err);
		}
		if (r < 0)
			return r;
	}
	int r = mvm_error_set(err, -EBUSY, "%s: other pushes change it all the time", what->name);
	return mvm_error_hint(err, r, "push again: only the tag is missing");
}
