/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/ed25519.h"

#include <errno.h>
#include <nettle/base64.h>
#include <nettle/eddsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/own.h"
#include "base/str.h"
#include "codec/base64.h"

/* The DER of a key, but for the key itself. */
static const uint8_t secret_head[] = { 0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06,
				       0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20 };
static const uint8_t public_head[] = { 0x30, 0x2a, 0x30, 0x05, 0x06, 0x03,
				       0x2b, 0x65, 0x70, 0x03, 0x21, 0x00 };

void ed25519_generate(struct ed25519_key *ret)
{
	random_bytes(ret->secret, sizeof(ret->secret));
	ed25519_sha512_public_key(ret->pub, ret->secret);
}

void ed25519_sign(const struct ed25519_key *key, const void *data, size_t len,
		  uint8_t ret[ED25519_SIGNATURE])
{
	ed25519_sha512_sign(key->pub, key->secret, len, data, ret);
}

bool ed25519_verify(const uint8_t pub[ED25519_KEY], const void *data, size_t len,
		    const uint8_t signature[ED25519_SIGNATURE])
{
	return ed25519_sha512_verify(pub, len, data, signature) == 1;
}

void ed25519_fingerprint(const uint8_t pub[ED25519_KEY], struct mvm_digest *ret)
{
	uint8_t der[sizeof(public_head) + ED25519_KEY];

	memcpy(der, public_head, sizeof(public_head));
	memcpy(der + sizeof(public_head), pub, ED25519_KEY);
	sha256_buf(der, sizeof(der), ret);
}

static void put_pem(const char *label, const uint8_t *head, size_t head_len, const uint8_t *key,
		    char ret[ED25519_PEM_SIZE])
{
	uint8_t der[64];
	char coded[BASE64_ENCODE_RAW_LENGTH(sizeof(der)) + 1] = "";

	memcpy(der, head, head_len);
	memcpy(der + head_len, key, ED25519_KEY);
	base64_encode_raw(coded, head_len + ED25519_KEY, der);
	coded[BASE64_ENCODE_RAW_LENGTH(head_len + ED25519_KEY)] = '\0';
	snprintf(ret, ED25519_PEM_SIZE, "-----BEGIN %s-----\n%s\n-----END %s-----\n", label, coded,
		 label);
	explicit_bzero(der, sizeof(der));
	explicit_bzero(coded, sizeof(coded));
}

void ed25519_secret_pem(const struct ed25519_key *key, char ret[ED25519_PEM_SIZE])
{
	put_pem("PRIVATE KEY", secret_head, sizeof(secret_head), key->secret, ret);
}

void ed25519_public_pem(const uint8_t pub[ED25519_KEY], char ret[ED25519_PEM_SIZE])
{
	put_pem("PUBLIC KEY", public_head, sizeof(public_head), pub, ret);
}

static int parse_pem(const char *text, const char *label, const uint8_t *head, size_t head_len,
		     uint8_t ret[ED25519_KEY])
{
	char begin[40], end[40];
	AUTO_FREE uint8_t *der = NULL;
	size_t len;

	snprintf(begin, sizeof(begin), "-----BEGIN %s-----", label);
	snprintf(end, sizeof(end), "-----END %s-----", label);
	const char *from = strstr(text, begin);
	const char *to = from ? strstr(from, end) : NULL;
	if (!to)
		return -EINVAL;
	from += strlen(begin);
	int r = base64_bytes(from, (size_t)(to - from), &der, &len);
	if (r < 0)
		return r;
	bool ok = len == head_len + ED25519_KEY && memcmp(der, head, head_len) == 0;
	if (ok)
		memcpy(ret, der + head_len, ED25519_KEY);
	explicit_bzero(der, len);
	return ok ? 0 : -EINVAL;
}

int ed25519_parse_secret(const char *text, struct ed25519_key *ret)
{
	int r = parse_pem(text, "PRIVATE KEY", secret_head, sizeof(secret_head), ret->secret);
	if (r == 0)
		ed25519_sha512_public_key(ret->pub, ret->secret);
	return r;
}

int ed25519_parse_public(const char *text, uint8_t ret[ED25519_KEY])
{
	return parse_pem(text, "PUBLIC KEY", public_head, sizeof(public_head), ret);
}
