/* SPDX-License-Identifier: Apache-2.0 */
#include "build/build_cache.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/parse.h"
#include "base/str.h"
#include "codec/json.h"
#include "model/strings.h"
#include "store/blob.h"
#include "store/cache.h"
#include "store/images.h"

/* The names of artifacts in the cache. */
struct slot {
	const char *name;
	struct mvm_digest *digest;
	uint64_t *bytes;
};
enum { SLOT_INITRD = 2, SLOT_IMAGE_INITRD, SLOTS };
static void slots_of(struct build_artifacts *a, struct slot ret[SLOTS])
{
	ret[0] = (struct slot){ "vmlinux", &a->vmlinux, &a->vmlinux_bytes };
	ret[1] = (struct slot){ "rootfs", &a->rootfs, &a->rootfs_bytes };
	ret[SLOT_INITRD] = (struct slot){ "initrd", &a->initrd, &a->initrd_bytes };
	ret[SLOT_IMAGE_INITRD] = (struct slot){ "image_initrd", &a->image_initrd,
						&a->image_initrd_bytes };
}

/* The cache's facts: a build's properties beside its artifacts. */
#define FACT_CLOSURE  "nix_closure_bytes="
#define FACT_UNPACKED "unpacked_bytes="
#define FACT_KERNEL   "kernel="

/* "1" or "0" for PVH, and a digit for each feature. */
static void read_kernel(const char *digits, struct build_kernel *ret)
{
	struct build_kernel k = { .known = true, .pvh = digits[0] == '1' };

	for (size_t i = 0; i < MVM_KERNEL_FEATURES; i++) {
		char c = digits[0] ? digits[i + 1] : '\0';
		if (c < '0' || !mvm_kernel_has_name((unsigned)(c - '0')))
			return; /* another version of mvm wrote it */
		k.features[i] = (uint8_t)(c - '0');
	}
	*ret = k;
}

/* Read the facts.  unpacked_bytes is UINT64_MAX if an older mvm, which did not note it, built. */
static int read_facts(const struct mvm_strings *facts, struct build_artifacts *ret)
{
	ret->unpacked_bytes = UINT64_MAX;
	for (size_t i = 0; i < facts->n; i++) {
		const char *fact = facts->v[i];
		if (str_starts(fact, FACT_CLOSURE) &&
		    parse_u64(fact + strlen(FACT_CLOSURE), 0, JSON_U64_MAX,
			      &ret->nix_closure_bytes) < 0)
			return -EINVAL;
		if (str_starts(fact, FACT_UNPACKED) &&
		    parse_u64(fact + strlen(FACT_UNPACKED), 0, JSON_U64_MAX, &ret->unpacked_bytes) <
			    0)
			return -EINVAL;
		if (str_starts(fact, FACT_KERNEL))
			read_kernel(fact + strlen(FACT_KERNEL), &ret->kernel);
	}
	return 0;
}

static int write_facts(const struct build_artifacts *a, struct mvm_strings *ret,
		       struct mvm_error *err)
{
	AUTO_DONE(strv) facts = { 0 };

	if (a->nix_closure_bytes)
		strv_addf(&facts, FACT_CLOSURE "%llu", (unsigned long long)a->nix_closure_bytes);
	strv_addf(&facts, FACT_UNPACKED "%llu", (unsigned long long)a->unpacked_bytes);
	if (a->pulled)
		strv_addf(&facts, STORE_IMAGE_FACT "%s", a->lock);
	if (a->kernel.known) {
		char digits[MVM_KERNEL_FEATURES + 2] = "";
		digits[0] = a->kernel.pvh ? '1' : '0';
		for (size_t i = 0; i < MVM_KERNEL_FEATURES; i++)
			digits[i + 1] = (char)('0' + a->kernel.features[i]);
		strv_addf(&facts, FACT_KERNEL "%s", digits);
	}
	return strings_take(&facts, ret) < 0 ? mvm_error_oom(err) : 0;
}

int build_cache_get(struct store *s, const char *key, const char *print,
		    const struct build_wanted *wanted, struct build_artifacts *ret,
		    struct mvm_error *err)
{
	const size_t unused = wanted->image_initrd ? SLOT_INITRD : SLOT_IMAGE_INITRD;
	AUTO_DONE(store_build) cached = { 0 };
	struct slot slots[SLOTS];
	int r = store_cache_get(s, key, print, &cached, err);
	if (r <= 0)
		return r;
	slots_of(ret, slots);
	for (size_t i = 0; i < SLOTS; i++) {
		size_t k = 0;
		while (k < cached.n_artifacts &&
		       strcmp(cached.artifacts[k].name, slots[i].name) != 0)
			k++;
		if (k == cached.n_artifacts && i == SLOT_IMAGE_INITRD)
			continue; /* the image has no initrd */
		if (k == cached.n_artifacts)
			return 0;
		*slots[i].digest = cached.artifacts[k].digest;
		if (!store_blob_has(s, slots[i].digest, slots[i].bytes) && i != unused)
			return 0;
	}
	if (read_facts(&cached.facts, ret) < 0 ||
	    (wanted->max_image_bytes && ret->unpacked_bytes > wanted->max_image_bytes))
		return 0;
	ret->run = cached.run;
	cached.run = (struct mvm_run){ 0 };
	ret->cached = true;
	return 1;
}

int build_cache_put(struct store *s, const char *key, const char *print, struct build_artifacts *a,
		    const struct mvm_progress *progress, struct mvm_error *err)
{
	AUTO_DONE(store_build) build = { .built_at = clock_wall_ns() / NS_PER_S };
	struct slot slots[SLOTS];

	slots_of(a, slots);
	for (size_t i = 0; i < SLOTS; i++) {
		if (i == SLOT_IMAGE_INITRD && !a->image_initrd_bytes)
			continue;
		struct store_cached_artifact *to = &build.artifacts[build.n_artifacts++];
		snprintf(to->name, sizeof(to->name), "%s", slots[i].name);
		to->digest = *slots[i].digest;
	}
	build.fingerprint = strdup(print);
	if (!build.fingerprint)
		return mvm_error_oom(err);
	int r = mvm_run_copy(&a->run, &build.run, err);
	if (r == 0)
		r = write_facts(a, &build.facts, err);
	return r < 0 ? r : store_cache_put(s, key, &build, progress, err);
}
