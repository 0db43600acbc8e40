/* SPDX-License-Identifier: Apache-2.0 */
#include "build/builder.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/own.h"
#include "base/str.h"
#include "codec/sha256.h"
#include "image/image.h"

static int open_source(const char *path, int flags, struct mvm_error *err)
{
	int fd = open(path, flags | O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	int r = mvm_error_set(err, -errno, "cannot open the source '%s': %s", path,
			      strerror(errno));
	return mvm_error_hint(err, r,
			      "check flake_ref; a relative one counts from the config's folder");
}

static int dir_lock(const char *source, struct mvm_digest *ret, struct mvm_error *err)
{
	AUTO_CLOSE int fd = open_source(source, O_DIRECTORY, err);
	return fd < 0 ? fd : image_lock_dir(fd, source, ret, err);
}

static int dir_build(const char *source, int out_fd, struct mvm_digest *ret_lock,
		     struct mvm_error *err)
{
	AUTO_CLOSE int fd = open_source(source, O_DIRECTORY, err);
	return fd < 0 ? fd : image_from_dir(fd, source, out_fd, 0, ret_lock, err);
}

static int tar_lock(const char *source, struct mvm_digest *ret, struct mvm_error *err)
{
	AUTO_CLOSE int fd = open_source(source, 0, err);
	if (fd < 0)
		return fd;
	int r = sha256_fd(fd, ret, NULL);
	return r < 0 ? mvm_error_set(err, r, "cannot read '%s': %s", source, strerror(-r)) : 0;
}

static int tar_build(const char *source, int out_fd, struct mvm_digest *ret_lock,
		     struct mvm_error *err)
{
	struct mvm_digest after;
	AUTO_CLOSE int fd = open_source(source, 0, err);
	if (fd < 0)
		return fd;
	int r = tar_lock(source, ret_lock, err);
	if (r == 0)
		r = image_from_tar(fd, source, out_fd, 0, err);
	if (r == 0)
		r = tar_lock(source, &after, err);
	if (r == 0 && !digest_equal(ret_lock, &after))
		r = mvm_error_set(err, -EBUSY, "'%s' changed while it was read", source);
	return r;
}

static const struct builder builders[] = {
	{ .name = "dir", .prefix = "dir:", .lock = dir_lock, .build = dir_build },
	{ .name = "tar", .prefix = "tar:", .lock = tar_lock, .build = tar_build },
};

int builder_find(const char *flake_ref, const struct builder **ret, const char **ret_source,
		 struct mvm_error *err)
{
	for (size_t i = 0; i < MVM_ARRAY_SIZE(builders); i++) {
		if (!str_starts(flake_ref, builders[i].prefix))
			continue;
		*ret = &builders[i];
		*ret_source = flake_ref + strlen(builders[i].prefix);
		return 0;
	}
	int r = mvm_error_set(err, -EOPNOTSUPP, "flake_ref '%s': this mvm cannot build that",
			      flake_ref);
	return mvm_error_hint(err, r, "use dir:FOLDER or tar:FILE");
}
