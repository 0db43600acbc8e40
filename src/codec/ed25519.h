/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_ED25519_H
#define CODEC_ED25519_H

/*
 * Ed25519 keys and signatures, and their PEM files, which openssl and cosign read.
 *
 * Source: RFC 8032; RFC 8410 for the keys' DER; RFC 7468 for PEM.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/sha256.h"

#define ED25519_KEY	  32u
#define ED25519_SIGNATURE 64u
#define ED25519_PEM_SIZE  256u

struct ed25519_key {
	uint8_t secret[ED25519_KEY];
	uint8_t pub[ED25519_KEY];
};

void ed25519_generate(struct ed25519_key *ret);
void ed25519_sign(const struct ed25519_key *key, const void *data, size_t len,
		  uint8_t ret[ED25519_SIGNATURE]);
bool ed25519_verify(const uint8_t pub[ED25519_KEY], const void *data, size_t len,
		    const uint8_t signature[ED25519_SIGNATURE]);

/* Ed25519ph, the variant that signs a SHA-512: cosign's signatures by a key of Ed25519. */
bool ed25519ph_verify(const uint8_t pub[ED25519_KEY], const void *data, size_t len,
		      const uint8_t signature[ED25519_SIGNATURE]);

/* SHA-256 of the key's SubjectPublicKeyInfo, by which sigstore names a key. */
void ed25519_fingerprint(const uint8_t pub[ED25519_KEY], struct mvm_digest *ret);

/* PEM texts: "PRIVATE KEY" (PKCS #8) and "PUBLIC KEY". */
void ed25519_secret_pem(const struct ed25519_key *key, char ret[ED25519_PEM_SIZE]);
void ed25519_public_pem(const uint8_t pub[ED25519_KEY], char ret[ED25519_PEM_SIZE]);

/* Read a PEM text, whatever stands before it.  0, or -EINVAL: no such key, or not of Ed25519. */
int ed25519_parse_secret(const char *text, struct ed25519_key *ret);
int ed25519_parse_public(const char *text, uint8_t ret[ED25519_KEY]);

#endif
