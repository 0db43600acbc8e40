/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_CACHE_H
#define STORE_CACHE_H

/*
 * The build cache: results of the builds of a cache key, by the fingerprint of their source.
 *
 * cache/builds/<cache key>.json holds the STORE_CACHE_BUILDS most recent builds, newest first:
 *
 *	{"schema_version": 1, "builds": [{"source_fingerprint": "...", "built_at": "...",
 *	  "artifacts": {"rootfs": "<hex>", ...}, "run": {...}, "facts": {"key": "value"}}]}
 *
 * Garbage collection may have removed its blobs; the caller checks the blobs that it needs.  A
 * damaged file, or one from a newer mvm, is a miss, and the next put replaces it.
 */

#include "model/template.h"
#include <stdint.h>

#include "store/store.h"

#define STORE_CACHE_BUILDS    8
#define STORE_CACHE_ARTIFACTS 8

struct store_cached_artifact {
	char name[32]; /* "rootfs", "vmlinux", "initrd", "image_initrd" */
	struct mvm_digest digest;
};

struct store_build {
	char *fingerprint;
	int64_t built_at;
	struct store_cached_artifact artifacts[STORE_CACHE_ARTIFACTS];
	size_t n_artifacts;
	struct mvm_run run;	  /* settings of the image: its command, environment, ... */
	struct mvm_strings facts; /* "key=value": further findings of the builder */
};

void store_build_done(struct store_build *b);
DEFINE_AUTO_DONE(store_build, store_build_done)

/* Returns 1 with the build, 0 when the cache does not have it, or -ENOMEM and the like. */
int store_cache_get(struct store *s, const char *cache_key, const char *fingerprint,
		    struct store_build *ret, struct mvm_error *err);

/* Add a build, replacing an older one with this fingerprint.  Takes the store lock, and progress
 * (may be NULL) stops the wait for it. */
int store_cache_put(struct store *s, const char *cache_key, const struct store_build *build,
		    const struct mvm_progress *progress, struct mvm_error *err);

/*
 * Forget builds.
 *
 *   dry_run      only count
 *   keep         returns 1 to keep a build, 0 to drop it, or -ENOMEM
 *   ret_dropped  number of dropped builds; unreadable ones are dropped too
 *
 * The caller holds the store lock, unless dry_run.  Files from a newer mvm are left alone.
 */
int store_cache_filter(struct store *s, bool dry_run,
		       int (*keep)(void *arg, const struct store_build *build), void *arg,
		       size_t *ret_dropped, struct mvm_error *err);

#endif
