/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_ED25519PH_H
#define CODEC_ED25519PH_H

/* Ed25519ph, the variant that signs a SHA-512: cosign's signatures by a key of Ed25519.
 *
 * Source: RFC 8032. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ED25519_KEY	  32u
#define ED25519_SIGNATURE 64u

bool ed25519ph_verify(const uint8_t pub[ED25519_KEY], const void *data, size_t len,
		      const uint8_t signature[ED25519_SIGNATURE]);

#endif
