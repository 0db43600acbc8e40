/* SPDX-License-Identifier: Apache-2.0 */
#include "pull/pull.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "codec/json.h"
#include "image/oci_digest.h"
#include "image/oci_resolve.h"
#include "pull/pull_priv.h"
#include "pull/settings.h"
#include "store/blob.h"
#include "store/images.h"

void pull_free(struct pull *p)
{
	if (!p)
		return;
	session_done(&p->session);
	turn_done(&p->turn);
	image_ref_done(&p->ref);
	strv_done(&p->hosts);
	free(p->name);
	free(p->place);
	free(p);
}

int pull_open(struct store *store, const char *image, uint64_t max_bytes,
	      const struct mvm_progress *progress, struct pull **ret, struct mvm_error *err)
{
	AUTO(pull) p = calloc(1, sizeof(*p));
	AUTO_DONE(settings) settings = { 0 };
	char digest[DIGEST_TEXT_SIZE];

	if (!p)
		return mvm_error_oom(err);
	p->session = (struct session)SESSION_NONE;
	p->turn = (struct turn)TURN_NONE;
	p->store = store;
	p->progress = progress;
	p->max_bytes = max_bytes ? max_bytes : PULL_BYTES_MAX;
	int r = image_ref_parse(image, &p->ref, err);
	if (r == 0)
		r = settings_load(store_path(store), p->ref.host, &settings, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < settings.mirrors.n; i++)
		strv_add(&p->hosts, settings.mirrors.v[i]);
	strv_add(&p->hosts, p->ref.host);
	p->must_be_signed = settings_want_signature(&settings, p->ref.host, p->ref.path);
	p->name = str_printf("%s/%s", p->ref.host, p->ref.path);
	digest_text(&p->ref.digest, digest);
	p->place = str_printf("%s%c%s", p->name ? p->name : "", p->ref.has_digest ? '@' : ':',
			      p->ref.has_digest ? digest : p->ref.tag);
	if (p->hosts.failed || !p->name || !p->place)
		return mvm_error_oom(err);
	*ret = TAKE_PTR(p);
	return 0;
}

/* ---- asking the mirrors, then the registry ---- */

static bool is_about_the_registry(int code)
{
	return code != -ECANCELED && code != -ENOMEM && code != -ENOSPC && code != -EDQUOT;
}

int pull_ask(struct pull *p, int (*fn)(struct session *s, void *arg, struct mvm_error *err),
	     void *arg, struct mvm_error *err)
{
	for (;;) {
		struct mvm_error why = { 0 };
		const char *host = p->hosts.v[p->host];
		int r = 0;

		if (p->session.sock < 0)
			r = session_open(store_path(p->store), host, p->ref.path, false,
					 p->progress, &p->session, &why);
		if (r == 0)
			r = fn(&p->session, arg, &why);
		if (r >= 0)
			return r;
		session_done(&p->session);
		if (p->host + 1 == p->hosts.n || !is_about_the_registry(r))
			return mvm_error_hand_on(err, &why);
		p->host++;
		progress_note(p->progress, "%s; asking %s", why.text, p->hosts.v[p->host]);
	}
}

struct document {
	const char *reference;
	char *text;
	size_t len;
};

static int get_document(struct session *s, void *arg, struct mvm_error *err)
{
	struct document *d = arg;
	return session_get(s, d->reference, &d->text, &d->len, err);
}

struct head {
	const char *tag;
	struct mvm_digest digest;
};

static int get_head(struct session *s, void *arg, struct mvm_error *err)
{
	struct head *h = arg;
	return session_head(s, h->tag, &h->digest, err);
}

/* ---- documents ---- */

int pull_read_stored(struct pull *p, const struct mvm_digest *digest, char **ret, size_t *ret_len)
{
	char hex[DIGEST_HEX_SIZE];
	struct mvm_digest actual;
	AUTO_FREE char *text = NULL;
	size_t len;

	digest_hex(digest, hex);
	int blobs = store_dir(p->store, STORE_BLOBS);
	int r = blobs < 0 ? blobs : file_read_at(blobs, hex, OCI_JSON_MAX, &text, &len);
	if (r < 0)
		return r == -ENOMEM ? r : 0;
	sha256_buf(text, len, &actual);
	if (!digest_equal(digest, &actual))
		return 0;
	*ret = TAKE_PTR(text);
	*ret_len = len;
	return 1;
}

int pull_store_document(struct pull *p, int dir_fd, const char *text, size_t len,
			struct mvm_error *err)
{
	struct mvm_digest digest;
	char hex[DIGEST_HEX_SIZE];

	sha256_buf(text, len, &digest);
	digest_hex(&digest, hex);
	int r = file_create_at(dir_fd, hex, text, len, 0600);
	if (r == -EEXIST)
		return 0;
	if (r < 0)
		return store_mend(
			p->store,
			mvm_error_set(err, r, "cannot store a manifest: %s", strerror(-r)), err);
	r = store_blob_take(p->store, dir_fd, hex, &digest, NULL, err);
	return r < 0 ? r : 0;
}

/* Keep a document for the next resolution, which then needs only a HEAD. */
static int remember(struct pull *p, const char *text, size_t len, struct mvm_error *err)
{
	struct mvm_digest digest;
	char hex[DIGEST_HEX_SIZE];

	int scratch = store_scratch(p->store, err);
	if (scratch < 0)
		return scratch;
	int r = pull_store_document(p, scratch, text, len, err);
	sha256_buf(text, len, &digest);
	digest_hex(&digest, hex);
	unlinkat(scratch, hex, 0);
	return r;
}

int pull_manifest(struct pull *p, const struct mvm_digest *digest, char **ret, size_t *ret_len,
		  struct mvm_error *err)
{
	char reference[DIGEST_TEXT_SIZE];
	struct document d = { .reference = reference };

	int r = pull_read_stored(p, digest, ret, ret_len);
	if (r != 0)
		return r < 0 ? mvm_error_oom(err) : 0;
	digest_text(digest, reference);
	r = pull_ask(p, get_document, &d, err);
	if (r == 0)
		r = remember(p, d.text, d.len, err);
	if (r < 0) {
		free(d.text);
		return r;
	}
	*ret = d.text;
	*ret_len = d.len;
	return 0;
}

/* The manifest or index of the reference. */
static int get_root(struct pull *p, struct mvm_digest *ret_digest, char **ret, size_t *ret_len,
		    struct mvm_error *err)
{
	struct document d = { .reference = p->ref.tag };
	struct head head = { .tag = p->ref.tag };

	if (p->ref.has_digest) {
		*ret_digest = p->ref.digest;
		return pull_manifest(p, &p->ref.digest, ret, ret_len, err);
	}
	int r = pull_ask(p, get_head, &head, err);
	if (r > 0) {
		*ret_digest = head.digest;
		return pull_manifest(p, &head.digest, ret, ret_len, err);
	}
	if (r == 0)
		r = pull_ask(p, get_document, &d, err);
	if (r == 0)
		r = remember(p, d.text, d.len, err);
	if (r < 0) {
		free(d.text);
		return r;
	}
	sha256_buf(d.text, d.len, ret_digest);
	*ret = d.text;
	*ret_len = d.len;
	return 0;
}

/* ---- choosing the platform ---- */

/* As a reader of oci_resolve.h: manifests are fetched as such, a configuration as a blob. */
static int read_for_choice(void *arg, const struct oci_descriptor *d, char ret_name[OCI_NAME_SIZE],
			   char **ret, size_t *ret_len, struct mvm_error *err)
{
	struct pull *p = arg;

	oci_blob_name(&d->digest, ret_name);
	if (d->size > OCI_JSON_MAX)
		return mvm_error_set(err, -EFBIG, "'%s': %s is larger than %zu bytes", p->name,
				     ret_name, OCI_JSON_MAX);
	int r = d->media == OCI_MEDIA_CONFIG
			? pull_config(p, &d->digest, d->size, ret, ret_len, err)
			: pull_manifest(p, &d->digest, ret, ret_len, err);
	if (r == 0 && *ret_len != d->size) {
		free(TAKE_PTR(*ret));
		return mvm_error_set(err, -EBADMSG, "'%s': %s has another size than announced",
				     p->name, ret_name);
	}
	return r;
}

/* Is the document an index?  Its content decides: a header may say anything.  -errno for one that
 * could be read in two ways. */
static int is_index(const struct pull *p, const char *text, size_t len, struct mvm_error *err)
{
	AUTO_JSON json_t *doc = NULL;

	int r = json_read(text, len, p->name, &doc, err);
	if (r < 0)
		return r;
	bool index = json_object_get(doc, "manifests") != NULL;
	bool manifest = json_object_get(doc, "config") || json_object_get(doc, "layers");
	if (json_object_get(doc, "fsLayers") ||
	    json_integer_value(json_object_get(doc, "schemaVersion")) == 1)
		return mvm_error_set(err, -EOPNOTSUPP,
				     "'%s' has a manifest of version 1, which no tool makes any "
				     "more: push the image again",
				     p->name);
	if (index == manifest)
		return mvm_error_set(err, -EBADMSG, "'%s' is %s", p->name,
				     index ? "both an index and a manifest" : "no image");
	return index;
}

void pull_choose(struct pull *p, const struct variant_key *keys, size_t n)
{
	p->keys = keys;
	p->n_keys = n;
}

/* Choose one of a template's variants.  1, or 0: the index is another one. */
static int choose_variant(const struct pull *p, const char *text, size_t len,
			  struct pull_found *ret, struct mvm_error *err)
{
	struct variants all;

	int r = variants_parse(text, len, p->name, &all, err);
	if (r <= 0)
		return r;
	const struct variant *v = variants_find(&all, p->keys, p->n_keys);
	ret->fits = v != NULL;
	ret->manifest = (v ? v : &all.v[0])->manifest.digest;
	memcpy(ret->revision, all.revision, sizeof(ret->revision));
	return 1;
}

static int choose(struct pull *p, const char *text, size_t len, struct mvm_digest *ret,
		  struct mvm_error *err)
{
	struct oci_reader reader = { .read = read_for_choice, .arg = p, .path = p->name };
	const struct oci_platform platform = oci_platform_here(NULL);
	AUTO_DONE(oci_index) index = { 0 };
	struct oci_descriptor found;

	int r = oci_index_parse(text, len, p->name, &index, err);
	if (r == 0 && oci_choose_all(&index) > 1)
		r = oci_learn_platforms(&reader, &index, err);
	if (r == 0)
		r = oci_resolve(&reader, &index, &platform, true, &found, err);
	if (r == 0)
		*ret = found.digest;
	return r;
}

int pull_resolve(struct pull *p, struct pull_found *ret, struct mvm_error *err)
{
	struct pull_found found = { 0 };
	AUTO_FREE char *text = NULL;
	struct mvm_digest root;
	size_t len;

	int r = get_root(p, &root, &text, &len, err);
	if (r == 0)
		r = is_index(p, text, len, err);
	if (r == 0)
		found.manifest = root;
	if (r > 0) {
		found.index = root;
		r = choose_variant(p, text, len, &found, err);
		if (r == 0)
			r = choose(p, text, len, &found.manifest, err);
	}
	if (r < 0)
		return r;
	*ret = found;
	return 0;
}

int pull_recall(struct pull *p, const struct mvm_digest *root, struct pull_found *ret,
		char **ret_config, size_t *ret_len)
{
	struct pull_found found = { .manifest = *root };
	struct artifact_manifest m;
	AUTO_FREE char *text = NULL;
	size_t len;

	int r = pull_read_stored(p, root, &text, &len);
	if (r <= 0)
		return r;
	r = choose_variant(p, text, len, &found, NULL);
	if (r > 0) {
		found.index = *root;
		*ret_config = NULL;
	} else if (r == 0) {
		r = artifact_manifest_parse(text, len, p->name, &m, NULL);
		if (r == 0)
			r = pull_read_stored(p, &m.config.digest, ret_config, ret_len);
	}
	if (r > 0)
		*ret = found;
	return r < 0 && r != -ENOMEM ? 0 : r;
}

int pull_is_artifact(struct pull *p, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	AUTO_JSON json_t *doc = NULL;
	struct variants variants;
	struct mvm_digest root;
	size_t len;

	int r = get_root(p, &root, &text, &len, err);
	if (r == 0)
		r = variants_parse(text, len, p->name, &variants, err);
	if (r == 0)
		r = json_read(text, len, p->name, &doc, err);
	if (r != 0)
		return r;
	const json_t *type = json_object_get(json_object_get(doc, "config"), "mediaType");
	return str_eq(json_string_value(type), ARTIFACT_CONFIG_TYPE);
}

int pull_keep(struct store *store, const struct pull_found *image, int dir_fd,
	      struct mvm_error *err)
{
	AUTO_DONE(strv) names = { 0 };

	AUTO_CLOSE int dir = openat(dir_fd, PULL_BLOBS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = dir < 0 ? -errno : dir_list(dir, &names);
	if (r < 0)
		return mvm_error_set(err, r, "cannot list the image's blobs: %s", strerror(-r));
	AUTO_FREE struct mvm_digest *blobs = calloc(names.n + 1, sizeof(*blobs));
	if (!blobs)
		return mvm_error_oom(err);
	size_t n = 0;
	for (size_t i = 0; i < names.n; i++)
		n += digest_parse(names.v[i], &blobs[n]) == 0;
	if (!mem_is_zero(&image->index, sizeof(image->index)))
		blobs[n++] = image->index;
	return store_image_keep(store, &image->manifest, blobs, n, err);
}
