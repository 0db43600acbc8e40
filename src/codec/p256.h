/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_P256_H
#define CODEC_P256_H

/*
 * ECDSA on the curve P-256, of SHA-256 digests.  Signatures are in ASN.1.  A secret key is a
 * number, a public one the point's two coordinates, each 32 bytes with the highest first.
 *
 * Source: FIPS 186-5; RFC 3279, 2.2.3, for a signature's bytes.
 */

#include <mvm/digest.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define P256_SECRET	   32u
#define P256_PUBLIC	   64u
#define P256_SIGNATURE_MAX 72u

void p256_generate(uint8_t ret_secret[P256_SECRET], uint8_t ret_pub[P256_PUBLIC]);

/* The public key of a secret one.  0, or -EINVAL: no secret key has this number. */
int p256_public(const uint8_t secret[P256_SECRET], uint8_t ret[P256_PUBLIC]);

/* Is this a point of the curve? */
bool p256_is_public(const uint8_t pub[P256_PUBLIC]);

/* Returns the signature's length. */
size_t p256_sign(const uint8_t secret[P256_SECRET], const struct mvm_digest *digest,
		 uint8_t ret[P256_SIGNATURE_MAX]);

bool p256_verify(const uint8_t pub[P256_PUBLIC], const struct mvm_digest *digest,
		 const uint8_t *signature, size_t len);

#endif
