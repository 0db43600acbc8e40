/* SPDX-License-Identifier: Apache-2.0 */
#include "image/image.h"

#include <errno.h>
#include <stdlib.h>

#include "base/parse.h"
#include "image/ext4.h"
#include "image/tree_dir.h"
#include "image/tree_tar.h"

int image_epoch(int64_t *ret, struct mvm_error *err)
{
	const char *text = getenv("SOURCE_DATE_EPOCH");
	uint64_t seconds = 0;

	if (text && *text && parse_u64(text, 0, UINT32_MAX, &seconds) < 0)
		return mvm_error_set(err, -EINVAL,
				     "SOURCE_DATE_EPOCH is '%s', which is no number of seconds "
				     "since 1970",
				     text);
	*ret = (int64_t)seconds;
	return 0;
}

/* What is in a source besides its metadata. */
typedef int (*read_fn)(int fd, const char *name, struct tree *t, void *arg, struct mvm_digest *ret,
		       struct mvm_error *err);

static int read_dir(int fd, const char *name, struct tree *t, void *arg, struct mvm_digest *ret,
		    struct mvm_error *err)
{
	return tree_dir_read(fd, name, t, ext4_write, arg, ret, err);
}

static int read_tar(int fd, const char *name, struct tree *t, void *arg, struct mvm_digest *ret,
		    struct mvm_error *err)
{
	(void)ret; /* the lock of a tar is the file's */
	return tree_tar_read(fd, name, t, ext4_write, arg, err);
}

static int write_image(int fd, const char *name, struct tree *t, read_fn read, int out_fd,
		       const struct ext4_options *options, struct mvm_digest *ret_lock,
		       struct mvm_error *err)
{
	AUTO(ext4_writer) w = NULL;

	int r = ext4_begin(out_fd, t, options, &w, err);
	if (r < 0)
		return mvm_error_context(err, r, "'%s'", name);
	r = read(fd, name, t, w, ret_lock, err);
	if (r < 0)
		return r;
	r = ext4_finish(w, err);
	return r < 0 ? mvm_error_context(err, r, "'%s'", name) : 0;
}

int image_from_dir(int dir_fd, const char *dir_name, int out_fd, uint64_t size_bytes,
		   struct mvm_digest *ret_lock, struct mvm_error *err)
{
	struct ext4_options options = { .size_bytes = size_bytes };
	AUTO(tree) t = NULL;

	int r = image_epoch(&options.now, err);
	if (r == 0)
		r = tree_dir_scan(dir_fd, dir_name, options.now, &t, err);
	return r < 0 ? r
		     : write_image(dir_fd, dir_name, t, read_dir, out_fd, &options, ret_lock, err);
}

int image_lock_dir(int dir_fd, const char *dir_name, struct mvm_digest *ret_lock,
		   struct mvm_error *err)
{
	AUTO(tree) t = NULL;

	int r = tree_dir_scan(dir_fd, dir_name, 0, &t, err);
	return r < 0 ? r : tree_dir_read(dir_fd, dir_name, t, NULL, NULL, ret_lock, err);
}

int image_from_tar(int tar_fd, const char *tar_name, int out_fd, uint64_t size_bytes,
		   struct mvm_error *err)
{
	struct ext4_options options = { .size_bytes = size_bytes };
	AUTO(tree) t = NULL;

	int r = image_epoch(&options.now, err);
	if (r == 0)
		r = tree_tar_scan(tar_fd, tar_name, options.now, NULL, &t, err);
	return r < 0 ? r : write_image(tar_fd, tar_name, t, read_tar, out_fd, &options, NULL, err);
}

int image_format_empty(int out_fd, uint64_t size_bytes, const char *label, struct mvm_error *err)
{
	struct ext4_options options = { .size_bytes = size_bytes, .label = label, .journal = true };
	AUTO(ext4_writer) w = NULL;
	AUTO(tree) t = NULL;

	int r = image_epoch(&options.now, err);
	if (r == 0)
		r = tree_new(NULL, &t, err);
	if (r == 0)
		r = tree_seal(t, err);
	if (r < 0)
		return r;
	t->root->inode->mtime = options.now;
	r = ext4_begin(out_fd, t, &options, &w, err);
	return r < 0 ? r : ext4_finish(w, err);
}
