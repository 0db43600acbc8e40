/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BUILD_BUILD_CACHE_H
#define BUILD_BUILD_CACHE_H

/* Artifacts in and out of the build cache (store/cache.h). */

#include "build/build.h"

/* What a build may take from the cache. */
struct build_wanted {
	/* the template boots the image's own initrd.  Only the initrd that it boots must exist */
	bool image_initrd;
	/* an image that unpacked to more is none: building it says so; 0: no limit */
	uint64_t max_image_bytes;
};

/*
 * Look for the result of an earlier build with this key and source fingerprint.
 *
 *   ret  gets artifacts, the image's settings and `cached`; other members stay
 *
 * Returns 1 when the cache has the whole result and the blobs exist, else 0 or -errno.
 */
int build_cache_get(struct store *s, const char *key, const char *print,
		    const struct build_wanted *wanted, struct build_artifacts *ret,
		    struct mvm_error *err);

/* progress stops the wait for the store lock; may be NULL. */
int build_cache_put(struct store *s, const char *key, const char *print, struct build_artifacts *a,
		    const struct mvm_progress *progress, struct mvm_error *err);

#endif
