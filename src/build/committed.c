/* SPDX-License-Identifier: Apache-2.0 */
#include "build/committed.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "codec/sha256.h"
#include "store/revision.h"

DEFINE_AUTO_DONE(mvm_template_revision, mvm_template_revision_done)

static int not_committed(const struct build_source *source, struct mvm_error *err)
{
	int r = mvm_error_set(err, -ENOENT,
			      "flake_ref is '%s', and the template has no revision to build from",
			      source->flake_ref);
	return mvm_error_hint(
		err, r, "commit a running VM to it, import it again, or set another flake_ref");
}

/* Open the current revision's image, and find its digest. */
static int open_image(const struct build_source *source, int *ret_fd, struct mvm_digest *ret,
		      struct mvm_error *err)
{
	AUTO_DONE(mvm_template_revision) rev = { 0 };
	AUTO_DONE(checksums) sums = { 0 };
	AUTO_CLOSE int dir_fd = -1;
	char hash[MVM_REVISION_SIZE];
	const char *id = source->template_id;

	int r = store_current_find(source->store, id, hash, err);
	if (r == -ENOENT)
		return not_committed(source, err);
	if (r >= 0)
		r = store_revision_load(source->store, id, hash, &rev, &dir_fd, err);
	if (r >= 0)
		r = store_checksums_read(dir_fd, &sums, err);
	if (r >= 0)
		r = store_checksums_hold_revision(dir_fd, &sums, err);
	if (r < 0)
		return r;
	const char *name = rev.artifact_paths.rootfs;
	const struct mvm_digest *digest = checksums_find(&sums, name);
	if (!digest || !mvm_artifact_name_valid(name))
		return mvm_error_set(err, -EBADMSG, "revision %s has no sound image", hash);
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return mvm_error_set(err, -errno, "cannot open the image of revision %s: %s", hash,
				     strerror(errno));
	*ret = *digest;
	*ret_fd = fd;
	return 0;
}

int committed_lock(const struct build_source *source, struct build_lock *ret, struct mvm_error *err)
{
	AUTO_CLOSE int fd = -1;
	return open_image(source, &fd, &ret->lock, err);
}

int committed_build(const struct build_source *source, const struct build_lock *lock, int out_fd,
		    int work_fd, struct build_product *ret, struct mvm_error *err)
{
	struct mvm_digest digest;
	AUTO_CLOSE int fd = -1;

	(void)work_fd;
	(void)ret; /* the template has its settings, and a kernel is chosen anew */
	int r = open_image(source, &fd, &digest, err);
	if (r < 0)
		return r;
	if (!digest_equal(&digest, &lock->lock))
		return build_source_changed(source, err);
	r = file_copy_fd(fd, out_fd);
	if (r >= 0)
		r = sha256_fd(out_fd, source->step, &digest, NULL);
	if (r < 0)
		return mvm_error_set(err, r, "cannot copy the image: %s", strerror(-r));
	return digest_equal(&digest, &lock->lock)
		       ? 0
		       : mvm_error_set(err, -EBADMSG,
				       "the image of the current revision is damaged");
}
