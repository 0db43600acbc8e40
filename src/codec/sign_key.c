/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/sign_key.h"

#include <errno.h>
#include <nettle/base64.h>
#include <nettle/eddsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/own.h"
#include "base/str.h"
#include "codec/base64.h"
#include "codec/ed25519ph.h"
#include "codec/p256.h"

#define DER_MAX	    160u
#define SECRET_WORD "PRIVATE KEY"
#define PUBLIC_WORD "PUBLIC KEY"

_Static_assert(KEY_SECRET == ED25519_KEY_SIZE && KEY_SECRET == P256_SECRET, "one size of secrets");
_Static_assert(KEY_SIGNATURE_MAX >= ED25519_SIGNATURE_SIZE &&
		       KEY_SIGNATURE_MAX >= P256_SIGNATURE_MAX,
	       "room for every signature");

/* The DER of keys, but for the keys themselves. */
static const uint8_t ed25519_secret[] = { 0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06,
					  0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20 };
static const uint8_t ed25519_public[] = { 0x30, 0x2a, 0x30, 0x05, 0x06, 0x03,
					  0x2b, 0x65, 0x70, 0x03, 0x21, 0x00 };
static const uint8_t p256_secret[] = { 0x30, 0x81, 0x87, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06,
				       0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
				       0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
				       0x04, 0x6d, 0x30, 0x6b, 0x02, 0x01, 0x01, 0x04, 0x20 };
static const uint8_t p256_between[] = { 0xa1, 0x44, 0x03, 0x42, 0x00, 0x04 };
static const uint8_t p256_public_head[] = { 0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48,
					    0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
					    0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04 };

struct bytes {
	const uint8_t *v;
	size_t n;
};
#define BYTES(a)                                                                                   \
	{                                                                                          \
		(a), sizeof(a)                                                                     \
	}

static const struct kind {
	const char *name;
	size_t public_len;
	/* the secret key's DER is head, secret and, if there is a part between, that and the public
	 * key */
	struct bytes secret_head, between, public_head;
} kinds[] = {
	[KEY_ED25519] = { "ed25519",
			  ED25519_KEY_SIZE,
			  BYTES(ed25519_secret),
			  { NULL, 0 },
			  BYTES(ed25519_public) },
	[KEY_P256] = { "p256", P256_PUBLIC, BYTES(p256_secret), BYTES(p256_between),
		       BYTES(p256_public_head) },
};

const char *key_type_name(enum key_type type)
{
	return kinds[type].name;
}

int key_type_parse(const char *name, enum key_type *ret)
{
	for (size_t i = 0; i < MVM_ARRAY_SIZE(kinds); i++) {
		if (!str_eq(kinds[i].name, name))
			continue;
		*ret = (enum key_type)i;
		return 0;
	}
	return -EINVAL;
}

/* The public key of a secret one. */
static int complete(struct key_pair *key)
{
	if (key->pub.type == KEY_P256)
		return p256_public(key->secret, key->pub.bytes);
	ed25519_sha512_public_key(key->pub.bytes, key->secret);
	return 0;
}

void key_generate(enum key_type type, struct key_pair *ret)
{
	*ret = (struct key_pair){ .pub.type = type };
	if (type == KEY_P256) {
		p256_generate(ret->secret, ret->pub.bytes);
		return;
	}
	random_bytes(ret->secret, sizeof(ret->secret));
	complete(ret);
}

size_t key_sign(const struct key_pair *key, const void *data, size_t len,
		uint8_t ret[KEY_SIGNATURE_MAX])
{
	struct mvm_digest digest;

	if (key->pub.type == KEY_P256) {
		sha256_buf(data, len, &digest);
		return p256_sign(key->secret, &digest, ret);
	}
	ed25519_sha512_sign(key->pub.bytes, key->secret, len, data, ret);
	return ED25519_SIGNATURE_SIZE;
}

bool key_verify(const struct public_key *key, const void *data, size_t len,
		const uint8_t *signature, size_t signature_len)
{
	struct mvm_digest digest;

	if (key->type == KEY_P256) {
		sha256_buf(data, len, &digest);
		return p256_verify(key->bytes, &digest, signature, signature_len);
	}
	return signature_len == ED25519_SIGNATURE_SIZE &&
	       (ed25519_sha512_verify(key->bytes, len, data, signature) == 1 ||
		ed25519ph_verify(key->bytes, data, len, signature));
}

/* ---- DER and PEM ---- */

static size_t put(uint8_t *der, size_t at, const uint8_t *bytes, size_t n)
{
	if (n > 0)
		memcpy(der + at, bytes, n);
	return at + n;
}

static size_t public_der(const struct public_key *key, uint8_t ret[DER_MAX])
{
	const struct kind *k = &kinds[key->type];
	size_t n = put(ret, 0, k->public_head.v, k->public_head.n);
	return put(ret, n, key->bytes, k->public_len);
}

static size_t secret_der(const struct key_pair *key, uint8_t ret[DER_MAX])
{
	const struct kind *k = &kinds[key->pub.type];
	size_t n = put(ret, 0, k->secret_head.v, k->secret_head.n);

	n = put(ret, n, key->secret, KEY_SECRET);
	if (k->between.n == 0)
		return n;
	n = put(ret, n, k->between.v, k->between.n);
	return put(ret, n, key->pub.bytes, k->public_len);
}

void key_fingerprint(const struct public_key *key, struct mvm_digest *ret)
{
	uint8_t der[DER_MAX];

	sha256_buf(der, public_der(key, der), ret);
}

/* As openssl does: lines of 64 characters. */
static void put_pem(const char *word, const uint8_t *der, size_t len, char ret[KEY_PEM_SIZE])
{
	char coded[BASE64_ENCODE_RAW_LENGTH(DER_MAX) + 1];
	const size_t n = BASE64_ENCODE_RAW_LENGTH(len);

	base64_encode_raw(coded, len, der);
	int at = snprintf(ret, KEY_PEM_SIZE, "-----BEGIN %s-----\n", word);
	for (size_t i = 0; i < n; i += 64) {
		int line = n - i < 64 ? (int)(n - i) : 64;
		at += snprintf(ret + at, KEY_PEM_SIZE - (size_t)at, "%.*s\n", line, coded + i);
	}
	snprintf(ret + at, KEY_PEM_SIZE - (size_t)at, "-----END %s-----\n", word);
	explicit_bzero(coded, sizeof(coded));
}

void key_secret_pem(const struct key_pair *key, char ret[KEY_PEM_SIZE])
{
	uint8_t der[DER_MAX];

	put_pem(SECRET_WORD, der, secret_der(key, der), ret);
	explicit_bzero(der, sizeof(der));
}

void key_public_pem(const struct public_key *key, char ret[KEY_PEM_SIZE])
{
	uint8_t der[DER_MAX];

	put_pem(PUBLIC_WORD, der, public_der(key, der), ret);
}

/* The DER in a PEM text; free(3) *ret. */
static int read_pem(const char *text, const char *word, uint8_t **ret, size_t *ret_len)
{
	char begin[40], end[40];

	snprintf(begin, sizeof(begin), "-----BEGIN %s-----", word);
	snprintf(end, sizeof(end), "-----END %s-----", word);
	const char *from = strstr(text, begin);
	const char *to = from ? strstr(from, end) : NULL;
	if (!to)
		return -EINVAL;
	from += strlen(begin);
	return base64_bytes(from, (size_t)(to - from), ret, ret_len);
}

static bool begins(const uint8_t *der, size_t len, const struct bytes *head)
{
	return len >= head->n && memcmp(der, head->v, head->n) == 0;
}

int key_parse_secret(const char *text, struct key_pair *ret)
{
	AUTO_FREE uint8_t *der = NULL;
	struct key_pair key = { 0 };
	uint8_t again[DER_MAX];
	size_t len;

	int r = read_pem(text, SECRET_WORD, &der, &len);
	if (r < 0)
		return r;
	r = -EINVAL;
	for (size_t i = 0; r < 0 && i < MVM_ARRAY_SIZE(kinds); i++) {
		const struct bytes *head = &kinds[i].secret_head;
		if (!begins(der, len, head) || len - head->n < KEY_SECRET)
			continue;
		key.pub.type = (enum key_type)i;
		memcpy(key.secret, der + head->n, KEY_SECRET);
		r = complete(&key);
		if (r == 0 && (secret_der(&key, again) != len || memcmp(again, der, len) != 0))
			r = -EINVAL; /* its public half belongs to another key */
	}
	if (r == 0)
		*ret = key;
	explicit_bzero(der, len);
	explicit_bzero(again, sizeof(again));
	explicit_bzero(&key, sizeof(key));
	return r;
}

int key_parse_public(const char *text, struct public_key *ret)
{
	AUTO_FREE uint8_t *der = NULL;
	size_t len;

	int r = read_pem(text, PUBLIC_WORD, &der, &len);
	if (r < 0)
		return r;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(kinds); i++) {
		const struct kind *k = &kinds[i];
		struct public_key key = { .type = (enum key_type)i };
		if (!begins(der, len, &k->public_head) || len != k->public_head.n + k->public_len)
			continue;
		memcpy(key.bytes, der + k->public_head.n, k->public_len);
		if (i == KEY_P256 && !p256_is_public(key.bytes))
			return -EINVAL;
		*ret = key;
		return 0;
	}
	return -EINVAL;
}
