/* SPDX-License-Identifier: Apache-2.0 */
#include "artifact/bundle.h"

#include <errno.h>
#include <string.h>

#include "artifact/document.h"
#include "codec/base64.h"
#include "codec/json.h"
#include "image/oci_digest.h"

#define PAYLOAD_TYPE   "application/vnd.in-toto+json"
#define STATEMENT_TYPE "https://in-toto.io/Statement/v1"
#define PREDICATE_TYPE "https://sigstore.dev/cosign/sign/v1"
#define NAME	       "bundle"

/* The bytes that a key signs: the type and the payload, each with its length. */
static void add_pae(struct strbuf *b, const char *payload, size_t len)
{
	strbuf_addf(b, "DSSEv1 %zu %s %zu ", strlen(PAYLOAD_TYPE), PAYLOAD_TYPE, len);
	strbuf_add(b, payload, len);
}

/* ---- signing ---- */

static int format_statement(const struct mvm_digest *manifest, char **ret, struct mvm_error *err)
{
	struct json_out out = { 0 };
	char hex[DIGEST_HEX_SIZE];

	digest_hex(manifest, hex);
	json_t *o = json_pack("{s:s, s:[{s:s, s:{s:s}}], s:s, s:{}}", "_type", STATEMENT_TYPE,
			      "subject", "name", "", "digest", "sha256", hex, "predicateType",
			      PREDICATE_TYPE, "predicate");
	return json_out_text(&out, o, JSON_TEXT_SORTED, ret, err);
}

int bundle_sign(const struct mvm_digest *manifest, const struct bundle_signer *signer, char **ret,
		struct mvm_error *err)
{
	AUTO_DONE(strbuf) pae = { 0 };
	AUTO_FREE char *statement = NULL;
	uint8_t signature[KEY_SIGNATURE_MAX];
	size_t len = 0;
	struct json_out out = { 0 };
	struct mvm_digest print;

	int r = format_statement(manifest, &statement, err);
	if (r < 0)
		return r;
	add_pae(&pae, statement, strlen(statement));
	if (pae.failed)
		return mvm_error_oom(err);
	r = signer->sign(signer->arg, pae.data, pae.len, signature, &len, err);
	if (r < 0)
		return r;
	key_fingerprint(&signer->pub, &print);
	AUTO_FREE char *hint = base64_text(&print, sizeof(print));
	AUTO_FREE char *payload = base64_text(statement, strlen(statement));
	AUTO_FREE char *coded = base64_text(signature, len);
	if (!hint || !payload || !coded)
		return mvm_error_oom(err);
	json_t *o = json_pack("{s:s, s:{s:{s:s}}, s:{s:s, s:s, s:[{s:s}]}}", "mediaType",
			      BUNDLE_TYPE, "verificationMaterial", "publicKey", "hint", hint,
			      "dsseEnvelope", "payload", payload, "payloadType", PAYLOAD_TYPE,
			      "signatures", "sig", coded);
	return json_out_text(&out, o, JSON_TEXT_SORTED, ret, err);
}

/* ---- verifying ---- */

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

/* Is the statement about this manifest, and nothing else? */
static int statement_is_about(const char *text, size_t len, const struct mvm_digest *manifest)
{
	AUTO_JSON json_t *doc = NULL;
	char hex[DIGEST_HEX_SIZE];

	int r = json_read(text, len, NAME, &doc, NULL);
	if (r < 0)
		return r == -ENOMEM ? r : 0;
	digest_hex(manifest, hex);
	const json_t *subjects = json_object_get(doc, "subject");
	const json_t *digests = json_object_get(json_array_get(subjects, 0), "digest");
	return str_eq(text_of(doc, "_type"), STATEMENT_TYPE) &&
	       str_eq(text_of(doc, "predicateType"), PREDICATE_TYPE) &&
	       json_array_size(subjects) == 1 && json_object_size(digests) == 1 &&
	       str_eq(text_of(digests, "sha256"), hex);
}

/* Is one of the envelope's signatures by one of the keys? */
static int find_key(const json_t *envelope, const struct strbuf *pae, const struct public_key *keys,
		    size_t n_keys, size_t *ret_key)
{
	const json_t *list = json_object_get(envelope, "signatures");

	for (size_t i = 0; i < json_array_size(list) && i < SIGNATURES_MAX; i++) {
		const char *coded = text_of(json_array_get(list, i), "sig");
		AUTO_FREE uint8_t *signature = NULL;
		size_t len = 0;
		int r = coded ? base64_bytes(coded, strlen(coded), &signature, &len) : -EINVAL;
		if (r == -ENOMEM)
			return r;
		for (size_t k = 0; r == 0 && k < n_keys; k++) {
			if (!key_verify(&keys[k], pae->data, pae->len, signature, len))
				continue;
			*ret_key = k;
			return 1;
		}
	}
	return 0;
}

int bundle_verify(const char *text, size_t len, const struct mvm_digest *manifest,
		  const struct public_key *keys, size_t n_keys, size_t *ret_key)
{
	AUTO_DONE(strbuf) pae = { 0 };
	AUTO_FREE uint8_t *payload = NULL;
	AUTO_JSON json_t *doc = NULL;
	size_t payload_len;

	int r = len > BUNDLE_MAX ? -EFBIG : json_read(text, len, NAME, &doc, NULL);
	if (r < 0)
		return r == -ENOMEM ? r : 0;
	const json_t *envelope = json_object_get(doc, "dsseEnvelope");
	const char *coded = text_of(envelope, "payload");
	if (!str_eq(text_of(doc, "mediaType"), BUNDLE_TYPE) || !coded ||
	    !str_eq(text_of(envelope, "payloadType"), PAYLOAD_TYPE))
		return 0;
	r = base64_bytes(coded, strlen(coded), &payload, &payload_len);
	if (r < 0)
		return r == -ENOMEM ? r : 0;
	add_pae(&pae, (char *)payload, payload_len);
	if (pae.failed)
		return -ENOMEM;
	r = find_key(envelope, &pae, keys, n_keys, ret_key);
	return r <= 0 ? r : statement_is_about((char *)payload, payload_len, manifest);
}

/* ---- the manifest of a signature ---- */

static json_t *descriptor(const char *type, const struct index_part *blob)
{
	char text[DIGEST_TEXT_SIZE];

	digest_text(&blob->digest, text);
	return json_pack("{s:s, s:s, s:I}", "mediaType", type, "digest", text, "size",
			 (json_int_t)blob->bytes);
}

int signature_manifest_format(const struct index_part *subject, const struct index_part *bundle,
			      char **ret, struct mvm_error *err)
{
	struct index_part empty = { .bytes = strlen(EMPTY_TEXT) };
	struct json_out out = { 0 };

	sha256_buf(EMPTY_TEXT, strlen(EMPTY_TEXT), &empty.digest);
	json_t *o = json_pack("{s:i, s:s, s:s, s:o, s:[o], s:o, s:{s:s, s:s}}", "schemaVersion", 2,
			      "mediaType", ARTIFACT_MANIFEST_TYPE, "artifactType", BUNDLE_TYPE,
			      "config", descriptor(EMPTY_TYPE, &empty), "layers",
			      descriptor(BUNDLE_TYPE, bundle), "subject",
			      descriptor(ARTIFACT_MANIFEST_TYPE, subject), "annotations",
			      "dev.sigstore.bundle.content", "dsse-envelope",
			      "dev.sigstore.bundle.predicateType", PREDICATE_TYPE);
	return json_out_text(&out, o, JSON_TEXT_SORTED, ret, err);
}

static bool is_digest(const json_t *object, struct mvm_digest *ret)
{
	const char *text = text_of(object, "digest");
	return text && oci_digest_parse(text, ret) == 0;
}

int signature_manifest_parse(const char *text, size_t len, const struct mvm_digest *subject,
			     struct index_part *ret_bundle)
{
	AUTO_JSON json_t *doc = NULL;
	struct mvm_digest about;
	struct index_part bundle;

	int r = len > ARTIFACT_MANIFEST_MAX ? -EFBIG : json_read(text, len, NAME, &doc, NULL);
	if (r < 0)
		return r == -ENOMEM ? r : 0;
	const json_t *layers = json_object_get(doc, "layers");
	const json_t *layer = json_array_get(layers, 0);
	const json_t *size = json_object_get(layer, "size");
	if (!is_digest(json_object_get(doc, "subject"), &about) || !digest_equal(&about, subject) ||
	    json_array_size(layers) != 1 || !str_eq(text_of(layer, "mediaType"), BUNDLE_TYPE) ||
	    !is_digest(layer, &bundle.digest) || json_integer_value(size) <= 0 ||
	    json_integer_value(size) > (json_int_t)BUNDLE_MAX)
		return 0;
	bundle.bytes = (uint64_t)json_integer_value(size);
	*ret_bundle = bundle;
	return 1;
}
