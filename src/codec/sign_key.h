/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_SIGN_KEY_H
#define CODEC_SIGN_KEY_H

/*
 * Keys that sign, their signatures, and their PEM files, which openssl and cosign read.
 *
 * Source: RFC 8032 (pure Ed25519) and RFC 8410 for its DER; FIPS 186-5 (ECDSA, P-256 with SHA-256),
 * RFC 5480 and RFC 5915 for its DER; RFC 7468 for PEM.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/sha256.h"

enum key_type {
	KEY_ED25519,
	KEY_P256,
};

#define KEY_SECRET	  32u
#define KEY_PUBLIC_MAX	  64u
#define KEY_SIGNATURE_MAX 72u
#define KEY_PEM_SIZE	  512u

struct public_key {
	enum key_type type;
	uint8_t bytes[KEY_PUBLIC_MAX]; /* 32 of Ed25519 */
};

struct key_pair {
	struct public_key pub;
	uint8_t secret[KEY_SECRET];
};

/* "ed25519" and "p256". */
const char *key_type_name(enum key_type type);
int key_type_parse(const char *name, enum key_type *ret); /* 0 or -EINVAL */

void key_generate(enum key_type type, struct key_pair *ret);

/* Sign data; returns the signature's length. */
size_t key_sign(const struct key_pair *key, const void *data, size_t len,
		uint8_t ret[KEY_SIGNATURE_MAX]);
bool key_verify(const struct public_key *key, const void *data, size_t len,
		const uint8_t *signature, size_t signature_len);

/* SHA-256 of the key's SubjectPublicKeyInfo, by which sigstore names a key. */
void key_fingerprint(const struct public_key *key, struct mvm_digest *ret);

/* PEM texts: "PRIVATE KEY" (PKCS #8) and "PUBLIC KEY". */
void key_secret_pem(const struct key_pair *key, char ret[KEY_PEM_SIZE]);
void key_public_pem(const struct public_key *key, char ret[KEY_PEM_SIZE]);

/* Read a PEM text, whatever stands before it.  0, or -EINVAL: no key of these types. */
int key_parse_secret(const char *text, struct key_pair *ret);
int key_parse_public(const char *text, struct public_key *ret);

#endif
