/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/p256.h"

#include <assert.h>
#include <errno.h>
#include <nettle/bignum.h>
#include <nettle/ecc-curve.h>
#include <nettle/ecc.h>
#include <nettle/ecdsa.h>
#include <string.h>

#include "base/file.h"

#define NUMBER	     32u /* bytes of one */
#define DER_SEQUENCE 0x30u
#define DER_INTEGER  0x02u

static void chance(void *arg, size_t n, uint8_t *to)
{
	(void)arg;
	random_bytes(to, n);
}

static void put_point(const struct ecc_point *p, uint8_t ret[P256_PUBLIC])
{
	mpz_t x, y;

	mpz_init(x);
	mpz_init(y);
	ecc_point_get(p, x, y);
	nettle_mpz_get_str_256(NUMBER, ret, x);
	nettle_mpz_get_str_256(NUMBER, ret + NUMBER, y);
	mpz_clear(x);
	mpz_clear(y);
}

/* Set a point, which ecc_point_clear() then frees in any case. */
static bool get_point(const uint8_t pub[P256_PUBLIC], struct ecc_point *ret)
{
	mpz_t x, y;

	ecc_point_init(ret, nettle_get_secp_256r1());
	nettle_mpz_init_set_str_256_u(x, NUMBER, pub);
	nettle_mpz_init_set_str_256_u(y, NUMBER, pub + NUMBER);
	bool ok = ecc_point_set(ret, x, y) == 1;
	mpz_clear(x);
	mpz_clear(y);
	return ok;
}

static bool get_scalar(const uint8_t secret[P256_SECRET], struct ecc_scalar *ret)
{
	mpz_t n;

	ecc_scalar_init(ret, nettle_get_secp_256r1());
	nettle_mpz_init_set_str_256_u(n, NUMBER, secret);
	bool ok = ecc_scalar_set(ret, n) == 1;
	mpz_clear(n);
	return ok;
}

void p256_generate(uint8_t ret_secret[P256_SECRET], uint8_t ret_pub[P256_PUBLIC])
{
	struct ecc_scalar secret;
	struct ecc_point pub;
	mpz_t n;

	ecc_scalar_init(&secret, nettle_get_secp_256r1());
	ecc_point_init(&pub, nettle_get_secp_256r1());
	mpz_init(n);
	ecdsa_generate_keypair(&pub, &secret, NULL, chance);
	ecc_scalar_get(&secret, n);
	nettle_mpz_get_str_256(NUMBER, ret_secret, n);
	put_point(&pub, ret_pub);
	mpz_clear(n);
	ecc_point_clear(&pub);
	ecc_scalar_clear(&secret);
}

int p256_public(const uint8_t secret[P256_SECRET], uint8_t ret[P256_PUBLIC])
{
	struct ecc_scalar n;
	struct ecc_point pub;

	ecc_point_init(&pub, nettle_get_secp_256r1());
	bool ok = get_scalar(secret, &n);
	if (ok) {
		ecc_point_mul_g(&pub, &n);
		put_point(&pub, ret);
	}
	ecc_scalar_clear(&n);
	ecc_point_clear(&pub);
	return ok ? 0 : -EINVAL;
}

bool p256_is_public(const uint8_t pub[P256_PUBLIC])
{
	struct ecc_point point;

	bool ok = get_point(pub, &point);
	ecc_point_clear(&point);
	return ok;
}

/* ---- signatures in ASN.1 ---- */

/* Append a positive integer: as short as possible, and with a zero before a high bit. */
static size_t put_integer(uint8_t *to, const mpz_t n)
{
	uint8_t bytes[NUMBER + 1] = { 0 };
	size_t skip = 0;

	nettle_mpz_get_str_256(NUMBER, bytes + 1, n);
	while (skip < NUMBER && bytes[skip] == 0 && bytes[skip + 1] < 0x80)
		skip++;
	size_t len = sizeof(bytes) - skip;
	to[0] = DER_INTEGER;
	to[1] = (uint8_t)len;
	memcpy(to + 2, bytes + skip, len);
	return len + 2;
}

/* Take an integer off the front, exactly as put_integer() writes it. */
static bool take_integer(const uint8_t **at, const uint8_t *end, mpz_t ret)
{
	const uint8_t *p = *at;

	if (end - p < 3 || p[0] != DER_INTEGER || p[1] == 0 || p[1] > NUMBER + 1 ||
	    end - p - 2 < p[1])
		return false;
	const size_t len = p[1];
	if (p[2] >= 0x80 || (len > 1 && p[2] == 0 && p[3] < 0x80))
		return false;
	nettle_mpz_set_str_256_u(ret, len, p + 2);
	*at = p + 2 + len;
	return true;
}

size_t p256_sign(const uint8_t secret[P256_SECRET], const struct mvm_digest *digest,
		 uint8_t ret[P256_SIGNATURE_MAX])
{
	struct dsa_signature s;
	struct ecc_scalar n;

	bool ok = get_scalar(secret, &n);
	assert(ok); /* whoever read the key has checked it */
	(void)ok;
	dsa_signature_init(&s);
	ecdsa_sign(&n, NULL, chance, sizeof(digest->bytes), digest->bytes, &s);
	size_t len = put_integer(ret + 2, s.r);
	len += put_integer(ret + 2 + len, s.s);
	ret[0] = DER_SEQUENCE;
	ret[1] = (uint8_t)len;
	dsa_signature_clear(&s);
	ecc_scalar_clear(&n);
	return len + 2;
}

bool p256_verify(const uint8_t pub[P256_PUBLIC], const struct mvm_digest *digest,
		 const uint8_t *signature, size_t len)
{
	const uint8_t *at = signature + 2, *end = signature + len;
	struct dsa_signature s;
	struct ecc_point point;

	if (len < 8 || len > P256_SIGNATURE_MAX || signature[0] != DER_SEQUENCE ||
	    signature[1] != len - 2)
		return false;
	dsa_signature_init(&s);
	bool ok = get_point(pub, &point) && take_integer(&at, end, s.r) &&
		  take_integer(&at, end, s.s) && at == end &&
		  ecdsa_verify(&point, sizeof(digest->bytes), digest->bytes, &s) == 1;
	ecc_point_clear(&point);
	dsa_signature_clear(&s);
	return ok;
}
