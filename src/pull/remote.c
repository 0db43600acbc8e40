/* SPDX-License-Identifier: Apache-2.0 */
#include "pull/remote.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "artifact/document.h"
#include "artifact/variants.h"
#include "base/file.h"
#include "codec/json.h"
#include "image/oci_manifest.h"
#include "model/image_ref.h"

#define PAGES_MAX   100u
#define LIST_PREFIX "sha256-"
#define SNAPSHOT    "snapshot/"
#define CREATED_MAX 64u

void remote_about_done(struct remote_about *a)
{
	free(a->text);
	free(a->created);
	*a = (struct remote_about){ 0 };
}

void remote_lists_done(struct remote_lists *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i].text);
	*l = (struct remote_lists){ 0 };
}

/* ---- tags ---- */

/* The tag of a list of signatures, or of what other tools hang on a digest? */
static bool is_of_a_digest(const char *tag)
{
	const size_t n = strlen(LIST_PREFIX);
	return str_starts(tag, LIST_PREFIX) &&
	       strspn(tag + n, "0123456789abcdef") >= DIGEST_HEX_SIZE - 1;
}

ssize_t remote_add_tags(const char *text, size_t len, const char *name, struct strv *ret,
			struct mvm_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	struct json_at root;
	size_t i;
	json_t *each;

	int r = json_read_object(text, len, name, &doc, &root, err);
	if (r < 0)
		return r;
	const json_t *list = json_object_get(doc, "tags"); /* null: there were some once */
	json_array_foreach(list, i, each)
	{
		const char *tag = json_string_value(each);
		if (!tag || !image_ref_is_tag(tag))
			return json_error(&root, "tags", err, "has something that is no tag");
		if (!is_of_a_digest(tag))
			strv_add(ret, tag);
		if (ret->n > REMOTE_TAGS_MAX)
			return mvm_error_set(err, -EFBIG, "'%s' has more than %u tags: name one",
					     name, REMOTE_TAGS_MAX);
	}
	return ret->failed ? mvm_error_oom(err) : (ssize_t)json_array_size(list);
}

int remote_tags(struct session *s, const char *name, struct strv *ret, struct mvm_error *err)
{
	AUTO_FREE char *what = strdup("tags/list?n=1000");

	for (unsigned pages = 1; what; pages++) {
		AUTO_FREE char *text = NULL, *next = NULL;
		size_t len;
		int r = session_list(s, what, &text, &len, &next, err);
		if (r == 0)
			return mvm_error_set(err, -ENOENT, "there is no repository '%s'", name);
		ssize_t n = r < 0 ? r : remote_add_tags(text, len, name, ret, err);
		if (n < 0)
			return (int)n;
		if (pages == PAGES_MAX && next)
			return mvm_error_set(err, -EFBIG, "'%s' has more than %u pages of tags",
					     name, PAGES_MAX);
		free(what);
		what = n > 0 ? TAKE_PTR(next) : NULL; /* an empty page is the last */
	}
	strv_sort(ret);
	return ret->failed ? mvm_error_oom(err) : 0;
}

/* ---- one blob ---- */

int remote_blob(struct session *s, const struct index_part *blob, const char *what, char **ret,
		size_t *ret_len, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	struct mvm_digest actual;
	size_t len;

	if (blob->bytes > OCI_JSON_MAX)
		return mvm_error_set(err, -EFBIG, "%s is larger than %zu bytes", what,
				     OCI_JSON_MAX);
	AUTO_CLOSE int fd = memfd_create("blob", MFD_CLOEXEC);
	if (fd < 0)
		return mvm_error_set(err, -errno, "cannot make a file in memory: %s",
				     strerror(errno));
	const struct session_blob wanted = { .digest = blob->digest,
					     .size = blob->bytes,
					     .fd = fd };
	int r = session_blobs(s, &wanted, 1, NULL, err);
	if (r < 0)
		return r;
	r = file_read_fd(fd, OCI_JSON_MAX, &text, &len);
	if (r < 0)
		return mvm_error_set(err, r, "cannot read %s: %s", what, strerror(-r));
	sha256_buf(text, len, &actual);
	if (!digest_equal(&actual, &blob->digest))
		return mvm_error_set(err, -EBADMSG, "%s does not match its digest", what);
	*ret = TAKE_PTR(text);
	*ret_len = len;
	return 0;
}

/* ---- one manifest ---- */

static uint64_t size_of(const json_t *descriptor)
{
	json_int_t n = json_integer_value(json_object_get(descriptor, "size"));
	return n > 0 && n <= (json_int_t)1 << 50 ? (uint64_t)n : 0; /* a sum of them fits */
}

static void add_layers(const json_t *layers, struct remote_about *ret)
{
	size_t i;
	json_t *each;

	json_array_foreach(layers, i, each)
	{
		const json_t *notes = json_object_get(each, "annotations");
		const char *file = json_string_value(json_object_get(notes, "dev.mvm.file"));
		ret->bytes += i < INDEX_MAX_PARTS * 4ul ? size_of(each) : 0;
		ret->has_snapshot |= file && str_starts(file, SNAPSHOT);
	}
}

int remote_about_read(struct remote_about *about, const char *reference, struct mvm_error *err)
{
	AUTO_JSON json_t *doc = NULL;

	int r = json_read(about->text, about->len, reference, &doc, err);
	if (r < 0)
		return r;
	/* a damaged one is nothing that a pull would take */
	bool index = variants_parse(about->text, about->len, reference, &about->variants, NULL) > 0;
	sha256_buf(about->text, about->len, &about->digest);
	const json_t *config = json_object_get(doc, "config");
	const char *type = json_string_value(json_object_get(config, "mediaType"));
	about->is_template = str_eq(type, ARTIFACT_CONFIG_TYPE);
	about->bytes = size_of(config);
	add_layers(json_object_get(doc, "layers"), about);
	about->has_snapshot &= about->is_template;
	about->is_template |= index;
	about->has_snapshot |= index;
	const json_t *notes = json_object_get(doc, "annotations");
	const char *created = json_string_value(
		json_object_get(notes, "org.opencontainers.image.created"));
	bool failed = false;
	if (created && strlen(created) <= CREATED_MAX)
		about->created = str_dup(created, &failed);
	return failed ? mvm_error_oom(err) : 0;
}

int remote_look(struct session *s, const char *reference, struct remote_about *ret,
		struct mvm_error *err)
{
	AUTO_DONE(remote_about) about = { 0 };

	int r = session_get(s, reference, &about.text, &about.len, err);
	if (r == 0)
		r = remote_about_read(&about, reference, err);
	if (r < 0)
		return r;
	*ret = about;
	about = (struct remote_about){ 0 };
	return 0;
}

/* ---- what refers to a manifest ---- */

/* The API's pages, as many as there is room for beside the tag's list. */
static int ask_api(struct session *s, const char *digest, struct remote_lists *ret,
		   struct mvm_error *err)
{
	AUTO_FREE char *what = str_printf("referrers/%s", digest);

	if (!what)
		return mvm_error_oom(err);
	while (what && ret->n + 1 < REMOTE_LISTS_MAX) {
		char *text = NULL, *next = NULL;
		size_t len = 0;
		int r = session_list(s, what, &text, &len, &next, err);
		free(what);
		what = next;
		if (r <= 0)
			return r;
		ret->v[ret->n++] = (struct remote_list){ text, len, false };
	}
	return 0;
}

int remote_referrers(struct session *s, const struct mvm_digest *subject, struct remote_lists *ret,
		     struct mvm_error *err)
{
	char digest[DIGEST_TEXT_SIZE], tag[ARTIFACT_LIST_TAG_SIZE];
	struct mvm_error why = { 0 };
	struct mvm_digest about;
	char *text = NULL;
	size_t len = 0;

	digest_text(subject, digest);
	artifact_list_tag(subject, tag);
	int r = ask_api(s, digest, ret, &why);
	if (r == -ECANCELED || r == -ENOMEM)
		return mvm_error_hand_on(err, &why);
	/* a registry without the API may answer anything, and one that got it later has older lists
	 * under their tags */
	why = (struct mvm_error){ 0 };
	r = session_get(s, tag, &text, &len, &why);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return mvm_error_hand_on(err, &why);
	sha256_buf(text, len, &about);
	if (digest_equal(&about, subject)) { /* GitLab takes such a tag for the digest */
		free(text);
		return 0;
	}
	ret->v[ret->n++] = (struct remote_list){ text, len, true };
	return 0;
}
