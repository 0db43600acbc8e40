/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/error.h"
#include "codec/sha256.h"
#include "model/model_json.h"

void mvm_template_cache_key(const char *flake_lock_hash, const char *profile, const char *role,
			    char ret[MVM_CACHE_KEY_SIZE])
{
	struct mvm_digest digest;
	struct sha256 h;

	sha256_init(&h);
	sha256_add(&h, flake_lock_hash, strlen(flake_lock_hash));
	sha256_add(&h, ":", 1);
	sha256_add(&h, profile, strlen(profile));
	sha256_add(&h, ":", 1);
	sha256_add(&h, role, strlen(role));
	sha256_end(&h, &digest);
	digest_hex(&digest, ret);
}

void mvm_template_revision_cache_key(const struct mvm_template_revision *revision,
				     char ret[MVM_CACHE_KEY_SIZE])
{
	mvm_template_cache_key(revision->flake_lock_hash, revision->profile, revision->role, ret);
}

int mvm_revision_hash(const struct mvm_revision_inputs *inputs, char ret[MVM_REVISION_HASH_SIZE],
		      struct mvm_error *err)
{
	struct json_out out = { 0 };
	json_t *o = json_new(&out), *artifacts = json_new(&out);
	char hex[DIGEST_HEX_SIZE];

	for (size_t i = 0; i < inputs->n_artifacts; i++) {
		digest_hex(&inputs->artifacts[i].digest, hex);
		json_put_string(&out, artifacts, inputs->artifacts[i].name, hex);
	}
	json_put(&out, o, "artifacts", artifacts);
	json_put_string(&out, o, "profile", inputs->profile);
	json_put_string(&out, o, "role", inputs->role);
	json_put_u64(&out, o, "vcpus", inputs->vcpus);
	json_put_u64(&out, o, "mem_mib", inputs->mem_mib);
	json_put_u64(&out, o, "data_disk_mib", inputs->data_disk_mib);
	if (inputs->root_disk_mib) /* without one the hash is that of earlier versions */
		json_put_u64(&out, o, "root_disk_mib", inputs->root_disk_mib);
	if (inputs->run && !mvm_run_empty(inputs->run))
		json_put(&out, o, "run", run_json(&out, inputs->run));

	AUTO_FREE char *text = NULL;
	int r = json_out_text(&out, o, JSON_TEXT_SORTED, &text, err);
	if (r < 0)
		return r;
	struct mvm_digest digest;
	sha256_buf(text, strlen(text), &digest);
	digest_hex(&digest, hex);
	memcpy(ret, hex, MVM_REVISION_HASH_SIZE - 1);
	ret[MVM_REVISION_HASH_SIZE - 1] = '\0';
	return 0;
}
