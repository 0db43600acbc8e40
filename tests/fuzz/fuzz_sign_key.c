/* SPDX-License-Identifier: Apache-2.0 */
/* Keys in PEM from anywhere, and signatures: what is read is written and read again as the same. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/own.h"
#include "codec/sign_key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_at_pem(const char *text)
{
	struct public_key pub, same_pub;
	struct key_pair pair, same_pair;
	char pem[KEY_PEM_SIZE];

	memset(&pub, 0, sizeof(pub));
	memset(&same_pub, 0, sizeof(same_pub));
	if (key_parse_public(text, &pub) == 0) {
		key_public_pem(&pub, pem);
		assert(strlen(pem) < sizeof(pem) && key_parse_public(pem, &same_pub) == 0);
		assert(memcmp(&pub, &same_pub, sizeof(pub)) == 0);
	}
	memset(&pair, 0, sizeof(pair));
	memset(&same_pair, 0, sizeof(same_pair));
	if (key_parse_secret(text, &pair) == 0) {
		key_secret_pem(&pair, pem);
		assert(key_parse_secret(pem, &same_pair) == 0);
		assert(memcmp(&pair, &same_pair, sizeof(pair)) == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct public_key keys[] = {
		{ .type = KEY_ED25519, .bytes = { 1 } },
		{ .type = KEY_P256, .bytes = { 1 } },
	};
	AUTO_FREE char *text = strndup((const char *)data, size);

	if (text)
		look_at_pem(text);
	for (size_t i = 0; i < 2; i++)
		assert(!key_verify(&keys[i], "text", 4, data, size));
	return 0;
}
