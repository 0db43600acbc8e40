/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BUILD_BUILD_H
#define BUILD_BUILD_H

/* Make a template's artifacts from its spec, as blobs, through the build cache. */

#include "model/template.h"
#include <mvm/build.h>
#include <mvm/kernel.h>

#include "base/progress.h"
#include "store/store.h"

/* Features of a build's kernel. */
struct build_kernel {
	bool known; /* false for builds that an older mvm left in the cache */
	bool pvh;
	uint8_t features[MVM_KERNEL_FEATURES]; /* enum mvm_kernel_has */
};

struct build_artifacts {
	struct mvm_digest vmlinux, rootfs;
	struct mvm_digest initrd;	/* the initrd that the template boots */
	struct mvm_digest image_initrd; /* the image's own initrd; image_initrd_bytes 0: none */
	uint64_t vmlinux_bytes, rootfs_bytes, initrd_bytes, image_initrd_bytes;
	char *flake_ref;	    /* of the revision; NULL: the spec's */
	char lock[65];		    /* flake_lock_hash */
	struct mvm_build_info info; /* done with build_artifacts_done() */
	struct mvm_run run;	    /* the image's own settings */
	struct build_kernel kernel;
	uint64_t nix_closure_bytes;
	uint64_t unpacked_bytes; /* of the image's archives */
	bool cached;
	bool pulled; /* the store keeps the image that the lock names */
	bool impure; /* the builder's result is never cached */
};
void build_artifacts_done(struct build_artifacts *a);
DEFINE_AUTO_DONE(build_artifacts, build_artifacts_done)

/*
 * Make the artifacts of a spec, or find them in the cache.
 *
 *   options  force ignores the cache; allow_pre_build and update_hash are for Nix; dry_run builds
 *            nothing, and a build that is not in the cache has no artifacts
 *
 * Errors: of the source (-ENOENT, -EINVAL, ...), -ENOENT (no kernel, or no initrd although the
 * template boots the image's), -EOPNOTSUPP (no builder).
 * A crash may leave more blobs, which nothing names.
 */
int build_artifacts(struct store *s, const struct mvm_template_spec *spec,
		    const struct mvm_build_options *options, const struct mvm_progress *progress,
		    struct build_artifacts *ret, struct mvm_error *err);

#endif
