/* SPDX-License-Identifier: Apache-2.0 */
/* Verifies Ed25519ph, which nettle lacks.  Nothing here is secret, so it need not take constant
 * time: a signature takes some milliseconds. */
#include <nettle/sha2.h>
#undef sha256_init /* nettle's prefix for its own function */

#include "codec/ed25519ph.h"

#include <gmp.h>
#include <string.h>

/* RFC 8032, sections 5.1 and 2: dom2(1, "") */
#define P_HEX "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed"
#define L_HEX "1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed"
#define D_HEX "52036cee2b6ffe738cc740797779e89800700a4d4141d8ab75eb4dca135978a3"
#define I_HEX "2b8324804fc1df0b2b4d00993dfbd7a72f431806ad2fe478c4ee1b274a0ea0b0"
static const uint8_t dom2[] = "SigEd25519 no Ed25519 collisions\1"; /* and the 0 at its end */

/* The curve, and numbers to calculate with. */
struct curve {
	mpz_t p, l, d, i; /* i: a square root of -1 */
	mpz_t a, b, c, t;
};

struct point {
	mpz_t x, y;
};

static void curve_init(struct curve *c)
{
	mpz_init_set_str(c->p, P_HEX, 16);
	mpz_init_set_str(c->l, L_HEX, 16);
	mpz_init_set_str(c->d, D_HEX, 16);
	mpz_init_set_str(c->i, I_HEX, 16);
	mpz_inits(c->a, c->b, c->c, c->t, NULL);
}

static void curve_done(struct curve *c)
{
	mpz_clears(c->p, c->l, c->d, c->i, c->a, c->b, c->c, c->t, NULL);
}

static void read_number(mpz_t ret, const uint8_t *bytes, size_t len)
{
	mpz_import(ret, len, -1, 1, 0, 0, bytes);
}

static void multiply(const struct curve *c, mpz_t ret, const mpz_t a, const mpz_t b)
{
	mpz_mul(ret, a, b);
	mpz_mod(ret, ret, c->p);
}

/* Is x the square root of a? */
static bool is_root(struct curve *c, const mpz_t x, const mpz_t a)
{
	multiply(c, c->t, x, x);
	return mpz_cmp(c->t, a) == 0;
}

/* Section 5.1.3.  False: no point has these bytes. */
static bool read_point(struct curve *c, struct point *ret, const uint8_t bytes[ED25519_KEY])
{
	uint8_t y[ED25519_KEY];
	int sign = bytes[31] >> 7;

	memcpy(y, bytes, sizeof(y));
	y[31] &= 0x7f;
	read_number(ret->y, y, sizeof(y));
	if (mpz_cmp(ret->y, c->p) >= 0)
		return false;
	multiply(c, c->a, ret->y, ret->y);
	multiply(c, c->b, c->a, c->d);
	mpz_sub_ui(c->a, c->a, 1);
	mpz_add_ui(c->b, c->b, 1);
	mpz_invert(c->b, c->b, c->p);  /* -1/d is no square */
	multiply(c, c->a, c->a, c->b); /* of x */
	mpz_add_ui(c->b, c->p, 3);
	mpz_fdiv_q_2exp(c->b, c->b, 3);
	mpz_powm(ret->x, c->a, c->b, c->p);
	if (!is_root(c, ret->x, c->a))
		multiply(c, ret->x, ret->x, c->i);
	if (!is_root(c, ret->x, c->a) || (mpz_sgn(ret->x) == 0 && sign))
		return false;
	if (mpz_odd_p(ret->x) != sign)
		mpz_sub(ret->x, c->p, ret->x);
	return true;
}

/* to += q, which may be the same point.  No denominator is 0, as d is no square. */
static void add(struct curve *c, struct point *to, const struct point *q)
{
	multiply(c, c->a, to->x, q->y);
	multiply(c, c->b, q->x, to->y);
	multiply(c, c->t, c->a, c->b);
	multiply(c, c->t, c->t, c->d);
	mpz_add(c->a, c->a, c->b);
	multiply(c, c->b, to->y, q->y);
	multiply(c, c->c, to->x, q->x);
	mpz_add(c->b, c->b, c->c);
	mpz_add_ui(c->c, c->t, 1);
	mpz_invert(c->c, c->c, c->p);
	multiply(c, to->x, c->a, c->c);
	mpz_ui_sub(c->c, 1, c->t);
	mpz_invert(c->c, c->c, c->p);
	multiply(c, to->y, c->b, c->c);
}

static void multiply_point(struct curve *c, struct point *ret, const struct point *q,
			   const mpz_t times)
{
	mpz_set_ui(ret->x, 0);
	mpz_set_ui(ret->y, 1);
	for (size_t i = mpz_sizeinbase(times, 2); i-- > 0;) {
		add(c, ret, ret);
		if (mpz_tstbit(times, i))
			add(c, ret, q);
	}
}

static void hash(const uint8_t r[ED25519_KEY], const uint8_t pub[ED25519_KEY], const void *data,
		 size_t len, uint8_t ret[SHA512_DIGEST_SIZE])
{
	struct sha512_ctx h;

	sha512_init(&h);
	sha512_update(&h, len, data);
	sha512_digest(&h, SHA512_DIGEST_SIZE, ret);
	sha512_update(&h, sizeof(dom2), dom2);
	sha512_update(&h, ED25519_KEY, r);
	sha512_update(&h, ED25519_KEY, pub);
	sha512_update(&h, SHA512_DIGEST_SIZE, ret);
	sha512_digest(&h, SHA512_DIGEST_SIZE, ret);
}

/* Section 5.1.7, without the cofactor: S B = R + k A. */
bool ed25519ph_verify(const uint8_t pub[ED25519_KEY], const void *data, size_t len,
		      const uint8_t signature[ED25519_SIGNATURE])
{
	uint8_t base[ED25519_KEY], digest[SHA512_DIGEST_SIZE];
	struct point a, b, r, left, right;
	struct curve c;
	mpz_t s, k;

	memset(base, 0x66, sizeof(base));
	base[0] = 0x58;
	hash(signature, pub, data, len, digest);
	curve_init(&c);
	mpz_inits(s, k, a.x, a.y, b.x, b.y, r.x, r.y, left.x, left.y, right.x, right.y, NULL);
	read_number(s, signature + ED25519_KEY, ED25519_KEY);
	read_number(k, digest, sizeof(digest));
	mpz_mod(k, k, c.l);
	bool good = mpz_cmp(s, c.l) < 0 && read_point(&c, &a, pub) &&
		    read_point(&c, &r, signature) && read_point(&c, &b, base);
	if (good) {
		multiply_point(&c, &left, &b, s);
		multiply_point(&c, &right, &a, k);
		add(&c, &right, &r);
		good = mpz_cmp(left.x, right.x) == 0 && mpz_cmp(left.y, right.y) == 0;
	}
	mpz_clears(s, k, a.x, a.y, b.x, b.y, r.x, r.y, left.x, left.y, right.x, right.y, NULL);
	curve_done(&c);
	return good;
}
