/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BUILD_COMMITTED_H
#define BUILD_COMMITTED_H

/* `commit:` and `artifact:` as sources: a template that mvm_template_commit() made, or that came as
 * an artifact.  Its source is the image of its own current revision, so a build changes only
 * kernel, initrd and settings.  The text after the prefix tells people what the first commit's
 * instance ran, or the artifact's digest. */

#include "build/builder.h"

#define COMMITTED_PREFIX "commit:"
#define RECEIVED_PREFIX	 "artifact:"

/* As in struct builder.  The lock is the image's digest. */
int committed_lock(const struct build_source *source, struct build_lock *ret,
		   struct mvm_error *err);
int committed_build(const struct build_source *source, const struct build_lock *lock, int out_fd,
		    int work_fd, struct build_product *ret, struct mvm_error *err);

#endif
