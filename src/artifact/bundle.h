/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ARTIFACT_BUNDLE_H
#define ARTIFACT_BUNDLE_H

/*
 * Signatures of manifests: sigstore bundles with a plain key, as cosign makes and reads them, and
 * the manifests that refer from a bundle to what it signs.
 *
 * A key signs an in-toto statement that names the manifest's digest, in a DSSE envelope.
 * There is no transparency log.
 *
 * Source: sigstore protobuf-specs, bundle v0.3; DSSE v1.0.2; in-toto attestation Statement v1;
 * OCI image-spec v1.1, "subject" in manifest.md.
 */

#include "artifact/index.h"
#include "codec/sign_key.h"

#define BUNDLE_TYPE "application/vnd.dev.sigstore.bundle.v0.3+json"
#define BUNDLE_MAX  ((size_t)64 << 10)

/* Of one manifest so many are looked at, and so many bytes of their manifests. */
#define SIGNATURES_MAX	     256u
#define SIGNATURES_BYTES_MAX ((uint64_t)4 << 20)

/* The configuration of a signature's manifest. */
#define EMPTY_TYPE "application/vnd.oci.empty.v1+json"
#define EMPTY_TEXT "{}"

/* Who signs: a key that is here, or one that is elsewhere. */
struct bundle_signer {
	struct public_key pub;
	/* Sign data.  0 with a signature of `pub`'s, or -errno. */
	int (*sign)(void *arg, const void *data, size_t len, uint8_t ret[KEY_SIGNATURE_MAX],
		    size_t *ret_len, struct mvm_error *err);
	void *arg;
};

/* Sign a manifest.  ret: the bundle, free(3) it. */
int bundle_sign(const struct mvm_digest *manifest, const struct bundle_signer *signer, char **ret,
		struct mvm_error *err);

/*
 * Does a bundle hold a signature of this manifest by one of these keys?  Whatever is not exactly
 * as bundle_sign() has it is no signature.
 *
 *   ret_key  which key; set with 1
 *
 * Returns 1, 0 or -ENOMEM.
 */
int bundle_verify(const char *text, size_t len, const struct mvm_digest *manifest,
		  const struct public_key *keys, size_t n_keys, size_t *ret_key);

/* The manifest that refers from a bundle to its subject; free(3) *ret. */
int signature_manifest_format(const struct index_part *subject, const struct index_part *bundle,
			      char **ret, struct mvm_error *err);

/* Is this the manifest of a bundle about this subject?  1 with the bundle's blob, 0 or -ENOMEM. */
int signature_manifest_parse(const char *text, size_t len, const struct mvm_digest *subject,
			     struct index_part *ret_bundle);

#endif
