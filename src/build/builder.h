/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BUILD_BUILDER_H
#define BUILD_BUILDER_H

/*
 * Builders: from a flake_ref to a root filesystem image.  One const struct per kind of source,
 * all listed in builder.c; the prefix of the flake_ref ("dir:") chooses.
 */

#include <mvm/digest.h>

#include "base/error.h"
#include "base/progress.h"

struct builder {
	const char *name;   /* as in revision.json's build.builder */
	const char *prefix; /* of flake_ref, with the colon */

	/*
	 * The lock that pins the source, as 64 hex digits: everything the source contributes to the
	 * image's bytes.  Reads, builds nothing.
	 *
	 *   source  flake_ref without the prefix; an absolute path
	 */
	int (*lock)(const char *source, struct mvm_digest *ret, struct mvm_error *err);

	/*
	 * Write the image into out_fd, an empty regular file.
	 *
	 *   ret_lock  of the source as it was read this time
	 */
	int (*build)(const char *source, int out_fd, struct mvm_digest *ret_lock,
		     struct mvm_error *err);
};

/* Find the builder for a flake_ref; ret_source points into it.  -EOPNOTSUPP naming what there is.
 */
int builder_find(const char *flake_ref, const struct builder **ret, const char **ret_source,
		 struct mvm_error *err);

#endif
