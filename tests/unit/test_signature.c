/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "artifact/bundle.h"
#include "artifact/document.h"
#include "codec/ed25519ph.h"
#include "codec/p256.h"
#include "codec/sha256.h"

static int sign_here(void *arg, const void *data, size_t len, uint8_t ret[KEY_SIGNATURE_MAX],
		     size_t *ret_len, struct mvm_error *err)
{
	(void)err;
	*ret_len = key_sign(arg, data, len, ret);
	return 0;
}

static void check_signatures(enum key_type type)
{
	struct key_pair mine, other;
	const struct mvm_digest one = { { 1 } }, two = { { 2 } };
	AUTO_FREE char *bundle = NULL;
	struct mvm_error err = { 0 };
	size_t which = 9;

	key_generate(type, &mine);
	key_generate(KEY_ED25519, &other);
	const struct bundle_signer signer = { .pub = mine.pub, .sign = sign_here, .arg = &mine };
	const struct public_key list[] = { other.pub, mine.pub };
	assert_int_equal(bundle_sign(&one, &signer, &bundle, &err), 0);
	const size_t len = strlen(bundle);
	assert_int_equal(bundle_verify(bundle, len, &one, list, 2, &which), 1);
	assert_int_equal(which, 1);
	assert_int_equal(bundle_verify(bundle, len, &one, list, 1, &which), 0);
	assert_int_equal(bundle_verify(bundle, len, &one, list, 0, &which), 0);
	assert_int_equal(bundle_verify(bundle, len, &two, list, 2, &which), 0);
	/* every changed byte of the envelope makes it none */
	const size_t from = (size_t)(strstr(bundle, "\"payload\"") - bundle);
	const size_t to = (size_t)(strstr(bundle, "]},") - bundle);
	for (size_t i = from; i < to; i++) {
		bundle[i] ^= 1;
		if (bundle_verify(bundle, len, &one, list, 2, &which) != 0)
			fail_msg("byte %zu counts for nothing", i);
		bundle[i] ^= 1;
	}
}

static void only_its_key_verifies_a_signature(void **state)
{
	const struct mvm_digest one = { { 1 } }, two = { { 2 } };
	AUTO_FREE char *manifest = NULL;
	struct mvm_error err = { 0 };
	(void)state;

	check_signatures(KEY_ED25519);
	check_signatures(KEY_P256);
	/* its manifest is about one subject */
	const struct index_part subject = { one, 5 }, blob = { two, 100 };
	struct index_part found;
	assert_int_equal(signature_manifest_format(&subject, &blob, &manifest, &err), 0);
	assert_int_equal(signature_manifest_parse(manifest, strlen(manifest), &one, &found), 1);
	assert_true(digest_equal(&found.digest, &two) && found.bytes == 100);
	assert_int_equal(signature_manifest_parse(manifest, strlen(manifest), &two, &found), 0);
}

/* RFC 8032, 7.1, TEST 2. */
static void the_signature_is_ed25519(void **state)
{
	static const uint8_t secret[] = { 0x4c, 0xcd, 0x08, 0x9b, 0x28, 0xff, 0x96, 0xda,
					  0x9d, 0xb6, 0xc3, 0x46, 0xec, 0x11, 0x4e, 0x0f,
					  0x5b, 0x8a, 0x31, 0x9f, 0x35, 0xab, 0xa6, 0x24,
					  0xda, 0x8c, 0xf6, 0xed, 0x4f, 0xb8, 0xa6, 0xfb };
	static const uint8_t begins[] = { 0x92, 0xa0, 0x09, 0xa9, 0xf0, 0xd4, 0xca, 0xb8 };
	struct key_pair key = { .pub.type = KEY_ED25519 }, again;
	uint8_t signature[KEY_SIGNATURE_MAX];
	struct public_key pub;
	char pem[KEY_PEM_SIZE];
	(void)state;

	memcpy(key.secret, secret, sizeof(secret));
	key_secret_pem(&key, pem);
	assert_int_equal(key_parse_secret(pem, &again), 0);
	size_t len = key_sign(&again, "\x72", 1, signature);
	assert_memory_equal(signature, begins, sizeof(begins));
	assert_true(key_verify(&again.pub, "\x72", 1, signature, len));
	assert_false(key_verify(&again.pub, "\x73", 1, signature, len));
	assert_false(key_verify(&again.pub, "\x72", 1, signature, len - 1));
	key_public_pem(&again.pub, pem);
	assert_int_equal(key_parse_public(pem, &pub), 0);
	assert_memory_equal(&pub, &again.pub, sizeof(pub));
	assert_int_equal(key_parse_secret(pem, &key), -EINVAL);
	pem[40] ^= 1;
	assert_int_equal(key_parse_public(pem, &pub), -EINVAL);
}

/* RFC 6979, A.2.5: the key, and the signature of "sample" with SHA-256. */
static void the_other_signature_is_ecdsa(void **state)
{
	static const uint8_t secret[] = { 0xc9, 0xaf, 0xa9, 0xd8, 0x45, 0xba, 0x75, 0x16,
					  0x6b, 0x5c, 0x21, 0x57, 0x67, 0xb1, 0xd6, 0x93,
					  0x4e, 0x50, 0xc3, 0xdb, 0x36, 0xe8, 0x9b, 0x12,
					  0x7b, 0x8a, 0x62, 0x2b, 0x12, 0x0f, 0x67, 0x21 };
	static const uint8_t theirs[] = {
		0x30, 0x46, 0x02, 0x21, 0x00, 0xef, 0xd4, 0x8b, 0x2a, 0xac, 0xb6, 0xa8,
		0xfd, 0x11, 0x40, 0xdd, 0x9c, 0xd4, 0x5e, 0x81, 0xd6, 0x9d, 0x2c, 0x87,
		0x7b, 0x56, 0xaa, 0xf9, 0x91, 0xc3, 0x4d, 0x0e, 0xa8, 0x4e, 0xaf, 0x37,
		0x16, 0x02, 0x21, 0x00, 0xf7, 0xcb, 0x1c, 0x94, 0x2d, 0x65, 0x7c, 0x41,
		0xd4, 0x36, 0xc7, 0xa1, 0xb6, 0xe2, 0x9f, 0x65, 0xf3, 0xe9, 0x00, 0xdb,
		0xb9, 0xaf, 0xf4, 0x06, 0x4d, 0xc4, 0xab, 0x2f, 0x84, 0x3a, 0xcd, 0xa8,
	};
	struct key_pair key = { .pub.type = KEY_P256 }, again;
	uint8_t signature[KEY_SIGNATURE_MAX];
	struct public_key pub;
	char pem[KEY_PEM_SIZE];
	(void)state;

	memcpy(key.secret, secret, sizeof(secret));
	assert_int_equal(p256_public(key.secret, key.pub.bytes), 0);
	assert_true(key_verify(&key.pub, "sample", 6, theirs, sizeof(theirs)));
	assert_false(key_verify(&key.pub, "simple", 6, theirs, sizeof(theirs)));
	for (size_t i = 0; i < sizeof(theirs); i++) {
		memcpy(signature, theirs, sizeof(theirs));
		signature[i] ^= 1;
		if (key_verify(&key.pub, "sample", 6, signature, sizeof(theirs)))
			fail_msg("byte %zu of the signature counts for nothing", i);
		assert_false(key_verify(&key.pub, "sample", 6, theirs, i));
	}
	for (int i = 0; i < 64; i++) { /* short numbers, too */
		key_generate(KEY_P256, &again);
		size_t len = key_sign(&again, "x", 1, signature);
		assert_true(key_verify(&again.pub, "x", 1, signature, len));
		assert_false(key_verify(&key.pub, "x", 1, signature, len));
	}
	key_secret_pem(&key, pem);
	assert_int_equal(key_parse_secret(pem, &again), 0);
	assert_memory_equal(&again, &key, sizeof(key));
	key.pub.bytes[5] ^= 1; /* the public half of another key */
	key_secret_pem(&key, pem);
	assert_int_equal(key_parse_secret(pem, &again), -EINVAL);
	key_public_pem(&key.pub, pem); /* no point of the curve */
	assert_int_equal(key_parse_public(pem, &pub), -EINVAL);
	memset(key.secret, 0xff, sizeof(key.secret)); /* larger than the curve's order */
	assert_int_equal(p256_public(key.secret, key.pub.bytes), -EINVAL);
}

/* RFC 8032, section 7.3 */
static void cosigns_variant_of_ed25519_is_known(void **state)
{
	static const uint8_t pub[] = { 0xec, 0x17, 0x2b, 0x93, 0xad, 0x5e, 0x56, 0x3b,
				       0xf4, 0x93, 0x2c, 0x70, 0xe1, 0x24, 0x50, 0x34,
				       0xc3, 0x54, 0x67, 0xef, 0x2e, 0xfd, 0x4d, 0x64,
				       0xeb, 0xf8, 0x19, 0x68, 0x34, 0x67, 0xe2, 0xbf };
	static const uint8_t good[] = { 0x98, 0xa7, 0x02, 0x22, 0xf0, 0xb8, 0x12, 0x1a, 0xa9, 0xd3,
					0x0f, 0x81, 0x3d, 0x68, 0x3f, 0x80, 0x9e, 0x46, 0x2b, 0x46,
					0x9c, 0x7f, 0xf8, 0x76, 0x39, 0x49, 0x9b, 0xb9, 0x4e, 0x6d,
					0xae, 0x41, 0x31, 0xf8, 0x50, 0x42, 0x46, 0x3c, 0x2a, 0x35,
					0x5a, 0x20, 0x03, 0xd0, 0x62, 0xad, 0xf5, 0xaa, 0xa1, 0x0b,
					0x8c, 0x61, 0xe6, 0x36, 0x06, 0x2a, 0xaa, 0xd1, 0x1c, 0x2a,
					0x26, 0x08, 0x34, 0x06 };
	static const uint8_t order[32] = { 0xed, 0xd3, 0xf5, 0x5c, 0x1a,       0x63,
					   0x12, 0x58, 0xd6, 0x9c, 0xf7,       0xa2,
					   0xde, 0xf9, 0xde, 0x14, [31] = 0x10 };
	uint8_t bad[ED25519_SIGNATURE], other[ED25519_KEY];
	(void)state;

	assert_true(ed25519ph_verify(pub, "abc", 3, good));
	assert_false(ed25519ph_verify(pub, "abd", 3, good));
	for (size_t i = 0; i < sizeof(bad); i += 7) {
		memcpy(bad, good, sizeof(bad));
		bad[i] ^= 1;
		assert_false(ed25519ph_verify(pub, "abc", 3, bad));
	}
	memcpy(bad, good, sizeof(bad)); /* S + L, the same modulo L */
	for (unsigned i = 0, carry = 0; i < 32; i++) {
		carry += bad[32 + i] + order[i];
		bad[32 + i] = (uint8_t)carry;
		carry >>= 8;
	}
	assert_false(ed25519ph_verify(pub, "abc", 3, bad));
	memset(other, 0xff, sizeof(other)); /* no point */
	assert_false(ed25519ph_verify(other, "abc", 3, good));
	memset(bad, 0xff, sizeof(bad));
	assert_false(ed25519ph_verify(pub, "abc", 3, bad));
	memset(bad, 0, sizeof(bad));
	assert_false(ed25519ph_verify(pub, "abc", 3, bad));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_its_key_verifies_a_signature),
		cmocka_unit_test(the_signature_is_ed25519),
		cmocka_unit_test(cosigns_variant_of_ed25519_is_known),
		cmocka_unit_test(the_other_signature_is_ecdsa),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
