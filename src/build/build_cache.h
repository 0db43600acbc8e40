/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BUILD_BUILD_CACHE_H
#define BUILD_BUILD_CACHE_H

/* Artifacts in and out of the build cache (store/cache.h). */

#include "build/build.h"

/*
 * Look for the result of an earlier build with this key and source fingerprint.
 *
 *   image_initrd  the template boots the image's own initrd.  Only the initrd that it boots must
 *                 still exist
 *   ret           gets artifacts, the image's settings and `cached`; other members stay
 *
 * Returns 1 when the cache has the whole result and the blobs exist, else 0 or -errno.
 */
int build_cache_get(struct store *s, const char *key, const char *print, bool image_initrd,
		    struct build_artifacts *ret, struct mvm_error *err);

int build_cache_put(struct store *s, const char *key, const char *print, struct build_artifacts *a,
		    struct mvm_error *err);

#endif
