/* SPDX-License-Identifier: Apache-2.0 */
/* Who has signed an artifact, and signing one. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/filter.h"
#include "codec/base64.h"
#include "store/keys.h"
#include "template/artifact.h"

#define SIGNED_MAX 4096u
#define PATIENCE_S 120 /* somebody may have to touch a key */

/* pub: of a key elsewhere; pair: of one that is here */
static int find_key(struct store *s, const struct sign_with *with, struct public_key *pub,
		    struct key_pair *pair, struct mvm_error *err)
{
	return with->command ? keys_find_public(s, with->key, pub, err)
			     : keys_load(s, with->key, pair, err);
}

static int check_key(struct store *s, const struct sign_with *with, struct mvm_error *err)
{
	struct public_key pub;
	struct key_pair pair = { 0 };
	int r = find_key(s, with, &pub, &pair, err);
	explicit_bzero(&pair, sizeof(pair));
	return r;
}

int artifact_may_sign(struct store *s, const struct sign_with *with, const struct revision *rev,
		      bool image_only, struct mvm_error *err)
{
	if (image_only || !rev->snapshot_foreign)
		return check_key(s, with, err);
	int r = mvm_error_set(err, -EPERM,
			      "the snapshot of %s@%.12s was made elsewhere, and no key that you "
			      "trust has signed it",
			      rev->id, rev->hash);
	return mvm_error_hint(err, r, "sign the image without it, or make a snapshot here");
}

/* ---- who signs ---- */

static int sign_here(void *arg, const void *data, size_t len, uint8_t ret[KEY_SIGNATURE_MAX],
		     size_t *ret_len, struct mvm_error *err)
{
	(void)err;
	*ret_len = key_sign(arg, data, len, ret);
	return 0;
}

/* A key that is elsewhere, and the program that asks it. */
struct far_key {
	const char *name, *command;
	struct public_key pub;
	const struct mvm_progress *progress;
};

/* Take a signature as it is or in base64, whichever the key verifies. */
static int take_signature(const struct far_key *k, const void *data, size_t len,
			  const struct strbuf *said, uint8_t ret[KEY_SIGNATURE_MAX],
			  size_t *ret_len)
{
	AUTO_FREE uint8_t *decoded = NULL;
	const uint8_t *signature = (const uint8_t *)said->data;
	size_t n = said->len;

	if (n == 0 || !key_verify(&k->pub, data, len, signature, n)) {
		int r = base64_bytes(said->data ? said->data : "", said->len, &decoded, &n);
		signature = decoded;
		if (r < 0 || !key_verify(&k->pub, data, len, signature, n))
			return r == -ENOMEM ? r : -EBADMSG;
	}
	if (n > KEY_SIGNATURE_MAX)
		return -EBADMSG;
	memcpy(ret, signature, n);
	*ret_len = n;
	return 0;
}

static int sign_there(void *arg, const void *data, size_t len, uint8_t ret[KEY_SIGNATURE_MAX],
		      size_t *ret_len, struct mvm_error *err)
{
	const struct far_key *k = arg;
	char *const argv[] = { (char *)k->command, NULL };
	AUTO_DONE(strbuf) said = { 0 };

	int r = program_filter(argv, data, len, STDERR_FILENO, SIGNED_MAX,
			       clock_deadline_ns((int64_t)PATIENCE_S * 1000), k->progress, &said);
	if (r == -ECANCELED)
		return mvm_error_cancelled(err, "signing");
	if (r < 0)
		return mvm_error_set(err, r == -ENOENT ? -EINVAL : r, "cannot run '%s': %s",
				     k->command, strerror(-r));
	if (r > 0)
		return mvm_error_set(err, -EACCES, "'%s' signs nothing: it failed", k->command);
	r = take_signature(k, data, len, &said, ret, ret_len);
	if (r == -ENOMEM)
		return mvm_error_oom(err);
	return r < 0 ? mvm_error_set(err, r, "'%s' prints no signature of the key '%s'", k->command,
				     k->name)
		     : 0;
}

void signature_done(struct signature *s)
{
	free(s->bundle);
	free(s->manifest);
	*s = (struct signature){ 0 };
}

int signature_make(struct store *s, const struct sign_with *with, const struct index_part *manifest,
		   const struct mvm_progress *progress, struct signature *ret,
		   struct mvm_error *err)
{
	AUTO_DONE(signature) made = { 0 };
	struct far_key far = { .name = with->key, .command = with->command, .progress = progress };
	struct key_pair pair = { 0 };
	struct bundle_signer signer = { .sign = sign_here, .arg = &pair };

	int r = find_key(s, with, &far.pub, &pair, err);
	if (r < 0)
		return r;
	signer.pub = pair.pub;
	if (with->command)
		signer = (struct bundle_signer){ far.pub, sign_there, &far };
	r = bundle_sign(&manifest->digest, &signer, &made.bundle, err);
	explicit_bzero(&pair, sizeof(pair));
	if (r < 0)
		return r;
	struct index_part blob = { .bytes = strlen(made.bundle) };
	sha256_buf(made.bundle, strlen(made.bundle), &blob.digest);
	r = signature_manifest_format(manifest, &blob, &made.manifest, err);
	if (r < 0)
		return r;
	*ret = made;
	made = (struct signature){ 0 };
	return 0;
}

int artifact_sign(struct store *s, const struct sign_with *with, const struct index_part *manifest,
		  const struct blob_sink *sink, const struct mvm_progress *progress,
		  struct index_part *ret, struct mvm_error *err)
{
	AUTO_DONE(signature) made = { 0 };
	struct mvm_digest ignored;

	int r = signature_make(s, with, manifest, progress, &made, err);
	if (r == 0)
		r = blob_write(sink, EMPTY_TEXT, strlen(EMPTY_TEXT), &ignored, err);
	if (r == 0)
		r = blob_write(sink, made.bundle, strlen(made.bundle), &ignored, err);
	if (r < 0)
		return r;
	ret->bytes = strlen(made.manifest);
	return blob_write(sink, made.manifest, strlen(made.manifest), &ret->digest, err);
}

/* ---- who has signed ---- */

int artifact_signing_key(struct store *s, const struct artifact *a, const char *repository,
			 struct key_info *ret, struct mvm_error *err)
{
	AUTO_DONE(key_list) trusted = { 0 };
	size_t n = 0, which;

	int r = keys_list(s, true, &trusted, err);
	if (r < 0)
		return r;
	AUTO_FREE struct public_key *keys = calloc(trusted.n + 1, sizeof(*keys));
	AUTO_FREE size_t *from = calloc(trusted.n + 1, sizeof(*from));
	if (!keys || !from)
		return mvm_error_oom(err);
	for (size_t i = 0; i < trusted.n; i++) {
		if (!key_covers(&trusted.v[i], repository))
			continue;
		keys[n] = trusted.v[i].pub;
		from[n++] = i;
	}
	r = artifact_find_signature(a, keys, n, &which);
	if (r < 0)
		return mvm_error_oom(err);
	if (r > 0)
		*ret = trusted.v[from[which]];
	return r;
}

int artifact_signer(struct store *s, const struct artifact *a, const char *repository,
		    char ret[DIGEST_HEX_SIZE], struct mvm_error *err)
{
	struct key_info key;

	int r = artifact_signing_key(s, a, repository, &key, err);
	if (r > 0)
		memcpy(ret, key.fingerprint, DIGEST_HEX_SIZE);
	return r;
}
