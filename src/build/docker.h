/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BUILD_DOCKER_H
#define BUILD_DOCKER_H

/* Images in registries as sources (rules: pull/pull.h).  The lock is the digest of the manifest for
 * this machine, so an `oci:` source of that image shares the cached build. */

#include "build/builder.h"

#define DOCKER_PREFIX "docker://"

/* As in struct builder. */
int docker_lock(const struct build_source *source, struct build_lock *ret, struct mvm_error *err);
int docker_fetch(const struct build_source *source, const struct build_lock *lock, int work_fd,
		 struct mvm_error *err);
int docker_build(const struct build_source *source, const struct build_lock *lock, int out_fd,
		 int work_fd, struct build_product *ret, struct mvm_error *err);

#endif
