/* SPDX-License-Identifier: Apache-2.0 */
#include "image/oci_choose.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "codec/sha256.h"

#define DEFAULT_TAG   "latest"
#define DIGEST_PREFIX "sha256:"
#define DIGITS_MIN    7u
#define DIGITS_SHOWN  12u
#define LISTED_MAX    8u
#define SEVERAL	      "has several images that fit"

/* How well a name fits.  Only the images with the best fit count. */
enum fit { FIT_NONE, FIT_LATEST, FIT_END, FIT_WHOLE };

/* Does a name end in the user's text, after a slash or a colon? */
static bool ends_in(const char *full, const char *tag)
{
	size_t len = strlen(full), n = strlen(tag);

	return n < len && strcmp(full + len - n, tag) == 0 && strchr(":/", full[len - n - 1]);
}

static enum fit fit_of_name(const char *full, const char *tag)
{
	const size_t n = strlen(":" DEFAULT_TAG);
	char start[512]; /* a longer name needs its tag */
	size_t len;

	if (!full)
		return FIT_NONE;
	if (strcmp(full, tag) == 0)
		return FIT_WHOLE;
	if (ends_in(full, tag))
		return FIT_END;
	len = strlen(full);
	if (len <= n || len - n >= sizeof(start) || strcmp(full + len - n, ":" DEFAULT_TAG) != 0)
		return FIT_NONE;
	memcpy(start, full, len - n);
	start[len - n] = '\0';
	return strcmp(start, tag) == 0 || ends_in(start, tag) ? FIT_LATEST : FIT_NONE;
}

static enum fit fit_of_digest(const char *hex, const char *tag)
{
	tag += *tag == '@';
	if (!str_starts(tag, DIGEST_PREFIX))
		return FIT_NONE;
	tag += strlen(DIGEST_PREFIX);
	return strlen(tag) >= DIGITS_MIN && str_starts(hex, tag) ? FIT_WHOLE : FIT_NONE;
}

static enum fit better(enum fit a, enum fit b)
{
	return a > b ? a : b;
}

/* ---- messages ---- */

struct listing {
	struct strbuf text;
	size_t n;
};

static void list_add(struct listing *l, const char *name, const char *hex, const char *platform)
{
	if (++l->n > LISTED_MAX)
		return;
	strbuf_addf(&l->text, "%s%.80s (%.*s%s%s)", l->n > 1 ? ", " : "",
		    name ? name : "one without a name", (int)DIGITS_SHOWN, hex,
		    *platform ? ", " : "", platform);
}

static int refuse(struct listing *l, int code, const char *name, const char *what,
		  struct mvm_error *err)
{
	if (l->n > LISTED_MAX)
		strbuf_addf(&l->text, " and %zu more", l->n - LISTED_MAX);
	const char *has = l->n ? l->text.data : "none";
	int r = l->text.failed ? mvm_error_oom(err)
			       : mvm_error_set(err, code, "'%s' %s; it has %s", name, what, has);
	if (l->n)
		r = mvm_error_hint(
			err, r,
			"append to the path a colon and one of the names, or ':sha256:' and the "
			"first digits of the digest");
	strbuf_done(&l->text);
	return r;
}

static int refuse_name(struct listing *l, const char *tag, const char *name, struct mvm_error *err)
{
	char what[256];

	if (!tag)
		return refuse(l, -EINVAL, name, SEVERAL, err);
	snprintf(what, sizeof(what), "has no image named '%.200s'", tag);
	return refuse(l, -ENOENT, name, what, err);
}

/* ---- layouts ---- */

static bool is_image(const struct oci_descriptor *d)
{
	/* builders store attestations in entries for the platform "unknown" */
	return (d->media == OCI_MEDIA_INDEX || d->media == OCI_MEDIA_MANIFEST) &&
	       !str_eq(d->os, "unknown");
}

static const char *name_of(const struct oci_descriptor *d)
{
	return d->image_name ? d->image_name : d->ref_name;
}

static struct listing list_meant(const struct oci_index *index)
{
	struct listing l = { 0 };

	for (size_t i = 0; i < index->n; i++) {
		const struct oci_descriptor *d = &index->manifests[i];
		char hex[DIGEST_HEX_SIZE], platform[80] = "";
		if (!d->meant)
			continue;
		digest_hex(&d->digest, hex);
		if (d->os || d->arch)
			snprintf(platform, sizeof(platform), "%.20s/%.20s%s%.20s",
				 d->os ? d->os : "?", d->arch ? d->arch : "?",
				 d->variant ? "/" : "", d->variant ? d->variant : "");
		list_add(&l, name_of(d), hex, platform);
	}
	return l;
}

int oci_choose_all(struct oci_index *index)
{
	int n = 0;

	for (size_t i = 0; i < index->n; i++) {
		index->manifests[i].meant = is_image(&index->manifests[i]);
		n += index->manifests[i].meant;
	}
	return n;
}

/* Does the index have only one name, or one image under several names?  Damaged entries do not
 * count, since they may be no images. */
static bool is_one(const struct oci_index *index)
{
	const struct oci_descriptor *first = NULL;

	for (size_t i = 0; i < index->n; i++) {
		const struct oci_descriptor *d = &index->manifests[i];
		if (!is_image(d) || d->problem)
			continue;
		if (first && !str_eq(name_of(first), name_of(d)) &&
		    !digest_equal(&first->digest, &d->digest))
			return false;
		first = d;
	}
	return true;
}

static enum fit fit_of(const struct oci_descriptor *d, const char *tag)
{
	char hex[DIGEST_HEX_SIZE];

	if (!is_image(d))
		return FIT_NONE;
	digest_hex(&d->digest, hex);
	return better(fit_of_digest(hex, tag),
		      better(fit_of_name(d->ref_name, tag), fit_of_name(d->image_name, tag)));
}

static int mark(struct oci_index *index, const char *tag)
{
	enum fit best = FIT_NONE;
	int n = 0;

	for (size_t i = 0; i < index->n; i++)
		best = better(best, fit_of(&index->manifests[i], tag));
	for (size_t i = 0; i < index->n; i++) {
		struct oci_descriptor *d = &index->manifests[i];
		d->meant = best != FIT_NONE && fit_of(d, tag) == best;
		n += d->meant;
	}
	return n;
}

/* Report an index without images, or the first problem of its entries. */
static int no_image(const struct oci_index *index, const char *name, struct mvm_error *err)
{
	for (size_t i = 0; i < index->n; i++) {
		const struct oci_descriptor *d = &index->manifests[i];
		if (d->problem)
			return mvm_error_set(err, d->problem_code, "%s", d->problem);
	}
	return mvm_error_set(err, -ENOENT, "'%s' has no container image", name);
}

int oci_choose_name(struct oci_index *index, const char *tag, const char *name,
		    struct mvm_error *err)
{
	const char *wanted = tag ? tag : DEFAULT_TAG;
	int n = !tag && is_one(index) ? oci_choose_all(index) : mark(index, wanted);
	if (n > 0)
		return n;
	if (oci_choose_all(index) == 0)
		return no_image(index, name, err);
	struct listing l = list_meant(index);
	return refuse_name(&l, tag, name, err);
}

/* ---- platforms ---- */

static bool arch_is(const char *said, const char *arch)
{
	static const char *const also[][2] = { { "x86_64", "amd64" },
					       { "x86-64", "amd64" },
					       { "aarch64", "arm64" } };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(also); i++) {
		if (strcasecmp(said, also[i][0]) == 0)
			said = also[i][1];
	}
	return strcasecmp(said, arch) == 0;
}

bool oci_platform_fits(const struct oci_platform *p, const char *os, const char *arch)
{
	return (!os || strcasecmp(os, "linux") == 0) && (!arch || arch_is(arch, p->arch));
}

enum rank { RANK_NONE = -1, RANK_DAMAGED, RANK_SAYS_NOT, RANK_FITS };

/* How well an entry fits a platform.  From RANK_FITS on, the amd64 level decides. */
static int rank(const struct oci_descriptor *d, const struct oci_platform *p)
{
	const char *v = d->variant ? d->variant : "";
	int level = 1;

	if (!d->meant || !oci_platform_fits(p, d->os, d->arch))
		return RANK_NONE;
	if (str_eq(p->arch, "amd64") && v[0] == 'v' && v[1] >= '1' && v[1] <= '9' && !v[2])
		level = v[1] - '0';
	if (level > (int)p->amd64_level)
		return RANK_NONE;
	if (d->problem)
		return RANK_DAMAGED;
	return !d->os || !d->arch ? (int)RANK_SAYS_NOT : (int)RANK_FITS + level;
}

int oci_choose_platform(struct oci_index *index, const struct oci_platform *p, bool first,
			const char *name, const struct oci_descriptor **ret, struct mvm_error *err)
{
	const struct oci_descriptor *chosen = NULL;
	bool several = false;
	int best = RANK_NONE;
	char what[64];

	for (size_t i = 0; i < index->n; i++) {
		const struct oci_descriptor *d = &index->manifests[i];
		int r = rank(d, p);
		if (r > best) {
			best = r;
			chosen = d;
			several = false;
		} else if (chosen && r == best) {
			several = several || !digest_equal(&d->digest, &chosen->digest);
		}
	}
	if (!chosen) {
		struct listing l = list_meant(index);
		snprintf(what, sizeof(what), "has no image for linux/%.20s", p->arch);
		return l.n ? refuse(&l, -ENOENT, name, what, err) : no_image(index, name, err);
	}
	if (several && !first) {
		for (size_t i = 0; i < index->n; i++)
			index->manifests[i].meant = rank(&index->manifests[i], p) == best;
		struct listing l = list_meant(index);
		return refuse(&l, -EINVAL, name, SEVERAL, err);
	}
	if (chosen->problem)
		return mvm_error_set(err, chosen->problem_code, "%s", chosen->problem);
	*ret = chosen;
	return 0;
}

/* ---- docker save ---- */

static enum fit fit_of_saved(const struct oci_saved *s, const char *tag)
{
	const char *slash = strrchr(s->config, '/'); /* "<hex>.json", "blobs/sha256/<hex>" */
	enum fit fit = fit_of_digest(slash ? slash + 1 : s->config, tag);

	for (size_t i = 0; i < s->tags.n; i++)
		fit = better(fit, fit_of_name(s->tags.v[i], tag));
	return fit;
}

int oci_choose_saved(const struct oci_saved_list *list, const char *tag, const char *name,
		     const struct oci_saved **ret, struct mvm_error *err)
{
	const struct oci_saved *chosen = NULL;
	struct listing l = { 0 };
	enum fit best = tag ? FIT_LATEST : FIT_NONE; /* the worst fit that counts */
	bool several = false;

	for (size_t i = 0; i < list->n; i++) {
		const struct oci_saved *s = &list->images[i];
		enum fit fit = tag ? fit_of_saved(s, tag) : FIT_NONE;
		if (fit > best || (fit == best && !chosen)) {
			best = fit;
			chosen = s;
			several = false;
		} else if (fit == best) {
			several = several || strcmp(s->config, chosen->config) != 0;
		}
	}
	if (chosen && !several) {
		*ret = chosen;
		return 0;
	}
	assert(list->images || list->n == 0);
	for (size_t i = 0; i < list->n; i++) {
		const struct oci_saved *s = &list->images[i];
		const char *slash = strrchr(s->config, '/');
		if (several && tag && fit_of_saved(s, tag) != best)
			continue;
		list_add(&l, s->tags.n ? s->tags.v[0] : NULL, slash ? slash + 1 : s->config, "");
	}
	if (!l.n)
		return mvm_error_set(err, -ENOENT, "'%s' contains no image", name);
	return refuse_name(&l, several ? NULL : tag, name, err);
}
