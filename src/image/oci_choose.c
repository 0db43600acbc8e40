/* SPDX-License-Identifier: Apache-2.0 */
#include "image/oci_choose.h"

#include <errno.h>
#include <string.h>

#define DEFAULT_TAG "latest"

const char *oci_host_arch(void)
{
#if defined(__x86_64__)
	return "amd64";
#elif defined(__aarch64__)
	return "arm64";
#else
#error "name this architecture as Go does"
#endif
}

/* A list for a message, each word once: "a, b". */
static void add_word(struct strbuf *b, struct strv *seen, const char *word)
{
	if (strv_has(seen, word))
		return;
	strbuf_addf(b, "%s%.100s", b->len ? ", " : "", word);
	strv_add(seen, word);
}

static int refuse(int code, struct strbuf *found, const char *name, const char *what,
		  struct mvm_error *err)
{
	if (found->failed)
		return mvm_error_oom(err);
	return mvm_error_set(err, code, "'%s' %s; it has %s", name, what,
			     found->len ? found->data : "none");
}

int oci_choose_tag(const struct oci_index *index, const char *tag, const char *name,
		   const char **ret, struct mvm_error *err)
{
	AUTO_DONE(strbuf) found = { 0 };
	AUTO_DONE(strv) seen = { 0 };
	const char *want = tag ? tag : DEFAULT_TAG;
	bool unnamed = false;

	for (size_t i = 0; i < index->n; i++) {
		const char *ref = index->manifests[i].ref_name;
		if (!ref)
			unnamed = true;
		else
			add_word(&found, &seen, ref);
	}
	if (!tag && seen.n + unnamed <= 1) {
		*ret = NULL;
		return 0;
	}
	for (size_t i = 0; i < index->n; i++) {
		const char *ref = index->manifests[i].ref_name;
		if (ref && strcmp(ref, want) == 0) {
			*ret = ref;
			return 0;
		}
	}
	if (tag) {
		AUTO_FREE char *what = str_printf("has no image tagged '%.200s'", tag);
		return what ? refuse(-ENOENT, &found, name, what, err) : mvm_error_oom(err);
	}
	return refuse(-EINVAL, &found, name, "has several images: put :TAG behind its path", err);
}

static bool fits(const struct oci_descriptor *d, const char *ref_name)
{
	return (d->media == OCI_MEDIA_INDEX || d->media == OCI_MEDIA_MANIFEST) &&
	       (!ref_name || str_eq(d->ref_name, ref_name));
}

int oci_choose_platform(const struct oci_index *index, const char *ref_name, const char *arch,
			const char *name, const struct oci_descriptor **ret, struct mvm_error *err)
{
	AUTO_DONE(strbuf) found = { 0 };
	AUTO_DONE(strv) seen = { 0 };
	const struct oci_descriptor *any = NULL;

	for (size_t i = 0; i < index->n; i++) {
		const struct oci_descriptor *d = &index->manifests[i];
		if (!fits(d, ref_name))
			continue;
		if (!d->os) {
			any = any ? any : d;
			continue;
		}
		if (strcmp(d->os, "linux") == 0 && strcmp(d->arch, arch) == 0) {
			*ret = d;
			return 0;
		}
		AUTO_FREE char *platform = str_printf("%.50s/%.50s", d->os, d->arch);
		if (!platform)
			return mvm_error_oom(err);
		add_word(&found, &seen, platform);
	}
	if (any) {
		*ret = any;
		return 0;
	}
	AUTO_FREE char *what = str_printf("has no image for linux/%s", arch);
	return what ? refuse(-ENOENT, &found, name, what, err) : mvm_error_oom(err);
}

/* Does a name end in what the user wrote, after a slash or a colon? */
static bool is_meant(const char *full, const char *tag)
{
	size_t len = strlen(full), n = strlen(tag);

	if (n > len || strcmp(full + len - n, tag) != 0)
		return false;
	return n == len || full[len - n - 1] == ':' || full[len - n - 1] == '/';
}

int oci_choose_saved(const struct oci_saved_list *list, const char *tag, const char *name,
		     const struct oci_saved **ret, struct mvm_error *err)
{
	AUTO_DONE(strbuf) found = { 0 };
	AUTO_DONE(strv) seen = { 0 };
	const struct oci_saved *meant = NULL;
	size_t n_meant = 0;

	for (size_t i = 0; i < list->n; i++) {
		const struct oci_saved *s = &list->images[i];
		bool hit = !tag;
		for (size_t k = 0; k < s->tags.n; k++) {
			add_word(&found, &seen, s->tags.v[k]);
			hit = hit || is_meant(s->tags.v[k], tag);
		}
		if (hit) {
			meant = s;
			n_meant++;
		}
	}
	if (n_meant == 1) {
		*ret = meant;
		return 0;
	}
	if (!tag && n_meant > 1)
		return refuse(-EINVAL, &found, name, "has several images: put :TAG behind its path",
			      err);
	AUTO_FREE char *what = str_printf("has %s image named '%.200s'",
					  n_meant ? "more than one" : "no", tag ? tag : "");
	if (!what)
		return mvm_error_oom(err);
	return refuse(n_meant ? -EINVAL : -ENOENT, &found, name,
		      tag ? what : "holds no image at all", err);
}
