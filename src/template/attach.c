/* SPDX-License-Identifier: Apache-2.0 */
/* Puts signatures into registries. */
#include <string.h>

#include "base/file.h"
#include "codec/sha256.h"
#include "image/oci_manifest.h"
#include "pull/remote.h"
#include "template/artifact.h"

/* A session sends blobs and manifests from descriptors. */
static int open_text(const char *text, struct mvm_error *err)
{
	int fd = file_in_memory(text, strlen(text));
	return fd < 0 ? mvm_error_set(err, fd, "cannot make a file in memory: %s", strerror(-fd))
		      : fd;
}

static int put_blob(struct session *s, const char *text, struct mvm_error *err)
{
	struct mvm_digest digest;

	sha256_buf(text, strlen(text), &digest);
	int r = session_has(s, &digest, err);
	if (r != 0)
		return r < 0 ? r : 0;
	AUTO_CLOSE int fd = open_text(text, err);
	return fd < 0 ? fd : session_upload(s, &digest, fd, strlen(text), NULL, err);
}

static int put_document(struct session *s, const char *name, const char *type, const char *text,
			struct mvm_error *err)
{
	AUTO_CLOSE int fd = open_text(text, err);
	return fd < 0 ? fd : session_put(s, name, type, fd, strlen(text), err);
}

/* Does a list of the registry's API have the signature?  -errno of reading it counts as no. */
static bool list_has(const struct remote_list *list, const struct mvm_digest *signature)
{
	AUTO_DONE(oci_index) index = { 0 };
	bool found = false;

	if (oci_index_parse(list->text, list->len, "the list of signatures", &index, NULL) < 0)
		return false;
	for (size_t i = 0; i < index.n; i++)
		found |= !index.manifests[i].problem &&
			 digest_equal(&index.manifests[i].digest, signature);
	return found;
}

int signature_attach(struct session *s, const struct mvm_digest *subject,
		     const struct signature *signature, struct mvm_error *err)
{
	struct index_part manifest = { .bytes = strlen(signature->manifest) };
	char name[DIGEST_TEXT_SIZE], tag[ARTIFACT_LIST_TAG_SIZE];
	AUTO_DONE(remote_lists) lists = { 0 };
	AUTO_FREE char *text = NULL;
	struct remote_list old = { 0 };

	sha256_buf(signature->manifest, manifest.bytes, &manifest.digest);
	digest_text(&manifest.digest, name);
	artifact_list_tag(subject, tag);
	int r = put_blob(s, EMPTY_TEXT, err);
	if (r == 0)
		r = put_blob(s, signature->bundle, err);
	if (r == 0)
		r = put_document(s, name, ARTIFACT_MANIFEST_TYPE, signature->manifest, err);
	if (r == 0)
		r = remote_referrers(s, subject, &lists, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < lists.n; i++) {
		const struct remote_list *list = &lists.v[i];
		if (list->is_tagged)
			old = *list;
		else if (list_has(list, &manifest.digest))
			return 0; /* the registry's word alone that it has the API is not enough */
	}
	r = artifact_referrers_format(old.text, old.len, &manifest, &text, err);
	return r <= 0 ? r : put_document(s, tag, ARTIFACT_LIST_TYPE, text, err);
}
