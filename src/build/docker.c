/* SPDX-License-Identifier: Apache-2.0 */
#include "build/docker.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "build/oci.h"
#include "codec/sha256.h"
#include "image/oci.h"
#include "image/oci_resolve.h"
#include "pull/pull.h"

int docker_lock(const struct build_source *source, struct build_lock *ret, struct mvm_error *err)
{
	AUTO_DONE(progress_step) step = { 0 };
	AUTO(pull) p = NULL;
	struct pull_found found;

	int r = pull_open(source->store, source->path, source->max_image_bytes, source->progress,
			  &p, err);
	if (r < 0)
		return r;
	progress_begin(&step, source->progress, "asking for %s", source->path);
	r = pull_resolve(p, &found, err);
	if (r < 0)
		return r;
	ret->lock = found.manifest;
	ret->index = found.index;
	progress_end(&step, NULL);
	return 0;
}

int docker_fetch(const struct build_source *source, const struct build_lock *lock, int work_fd,
		 struct mvm_error *err)
{
	AUTO(pull) p = NULL;

	int r = pull_open(source->store, source->path, source->max_image_bytes, source->progress,
			  &p, err);
	return r < 0 ? r : pull_into(p, &lock->lock, work_fd, err);
}

/* docker_fetch() has put all blobs into work_fd. */
int docker_build(const struct build_source *source, const struct build_lock *lock, int out_fd,
		 int work_fd, struct build_product *ret, struct mvm_error *err)
{
	const struct pull_found found = { .manifest = lock->lock, .index = lock->index };
	AUTO(oci_image) image = NULL;

	int r = oci_open_blobs(work_fd, source->path, &lock->lock, &image, err);
	if (r == 0)
		r = oci_image_build(source, image, out_fd, ret, err);
	if (r == 0)
		r = pull_keep(source->store, &found, work_fd, err);
	ret->pulled = r == 0;
	return r;
}
