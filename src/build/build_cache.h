/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BUILD_BUILD_CACHE_H
#define BUILD_BUILD_CACHE_H

/* Artifacts in and out of the build cache (store/cache.h). */

#include "build/build.h"

/*
 * Look for what a build of this key and source fingerprint made.
 *
 *   image_initrd  the build is for a template that boots with the image's own: of the two, only
 *                 the one that is booted with must be there still
 *   ret           gets artifacts, the image's settings and `cached`; of the rest nothing is touched
 *
 * Returns 1 when the cache has all of it and the blobs are there, else 0 or -errno.
 */
int build_cache_get(struct store *s, const char *key, const char *print, bool image_initrd,
		    struct build_artifacts *ret, struct mvm_error *err);

int build_cache_put(struct store *s, const char *key, const char *print, struct build_artifacts *a,
		    struct mvm_error *err);

#endif
