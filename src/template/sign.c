/* SPDX-License-Identifier: Apache-2.0 */
/* Who has signed an artifact, and signing one. */
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "store/keys.h"
#include "template/artifact.h"

int artifact_may_sign(const struct revision *rev, bool image_only, struct mvm_error *err)
{
	if (image_only || !rev->snapshot_foreign)
		return 0;
	int r = mvm_error_set(err, -EPERM,
			      "the snapshot of %s@%.12s was made elsewhere, and no key that you "
			      "trust has signed it",
			      rev->id, rev->hash);
	return mvm_error_hint(err, r, "sign the image without it, or make a snapshot here");
}

int artifact_sign(struct store *s, const char *key, const struct index_part *manifest,
		  const struct blob_sink *sink, struct index_part *ret, struct mvm_error *err)
{
	AUTO_FREE char *bundle = NULL, *text = NULL;
	struct ed25519_key pair;
	struct index_part blob;
	struct mvm_digest empty;

	int r = keys_load(s, key, &pair, err);
	if (r < 0)
		return r;
	r = bundle_sign(&manifest->digest, &pair, &bundle, err);
	explicit_bzero(&pair, sizeof(pair));
	if (r == 0)
		r = blob_write(sink, EMPTY_TEXT, strlen(EMPTY_TEXT), &empty, err);
	if (r == 0)
		r = blob_write(sink, bundle, strlen(bundle), &blob.digest, err);
	if (r < 0)
		return r;
	blob.bytes = strlen(bundle);
	r = signature_manifest_format(manifest, &blob, &text, err);
	if (r < 0)
		return r;
	ret->bytes = strlen(text);
	return blob_write(sink, text, strlen(text), &ret->digest, err);
}

int artifact_signer(struct store *s, const struct artifact *a, const char *repository,
		    char ret[DIGEST_HEX_SIZE], struct mvm_error *err)
{
	AUTO_DONE(key_list) trusted = { 0 };
	size_t n = 0, which;

	int r = keys_list(s, true, &trusted, err);
	if (r < 0)
		return r;
	AUTO_FREE uint8_t(*keys)[ED25519_KEY] = calloc(trusted.n + 1, sizeof(*keys));
	AUTO_FREE size_t *from = calloc(trusted.n + 1, sizeof(*from));
	if (!keys || !from)
		return mvm_error_oom(err);
	for (size_t i = 0; i < trusted.n; i++) {
		if (!key_covers(&trusted.v[i], repository))
			continue;
		memcpy(keys[n], trusted.v[i].pub, ED25519_KEY);
		from[n++] = i;
	}
	r = artifact_find_signature(a, (const uint8_t(*)[ED25519_KEY])keys, n, &which);
	if (r < 0)
		return mvm_error_oom(err);
	if (r > 0)
		memcpy(ret, trusted.v[from[which]].fingerprint, DIGEST_HEX_SIZE);
	return r;
}
