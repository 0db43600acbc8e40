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

/* What the writer is to know. */
static int writer_options(const struct image_options *from, struct ext4_options *ret,
			  struct mvm_error *err)
{
	*ret = (struct ext4_options){ 0 };
	if (from) {
		ret->size_bytes = from->size_bytes;
		ret->step = from->step;
	}
	return image_epoch(&ret->now, err);
}

int image_from_dir(int dir_fd, const char *dir_name, int out_fd,
		   const struct image_options *options, struct mvm_digest *ret_lock,
		   struct mvm_error *err)
{
	struct ext4_options to;
	AUTO(tree) t = NULL;

	int r = writer_options(options, &to, err);
	if (r == 0)
		r = tree_dir_scan(dir_fd, dir_name, to.now, &t, err);
	return r < 0 ? r : write_image(dir_fd, dir_name, t, read_dir, out_fd, &to, ret_lock, err);
}

/* Contents that are only counted. */
struct counter {
	struct progress_step *step;
	uint64_t done_bytes, total_bytes;
};

static int count(void *arg, struct tree_node *n, uint64_t offset, const void *data, size_t len,
		 struct mvm_error *err)
{
	struct counter *c = arg;

	(void)n;
	(void)offset;
	(void)data;
	(void)err;
	c->done_bytes += len;
	if (c->step)
		progress_bytes(c->step, c->done_bytes, c->total_bytes);
	return 0;
}

int image_lock_dir(int dir_fd, const char *dir_name, struct progress_step *step,
		   struct mvm_digest *ret_lock, struct mvm_error *err)
{
	AUTO(tree) t = NULL;

	int r = tree_dir_scan(dir_fd, dir_name, 0, &t, err);
	if (r < 0)
		return r;
	struct counter c = { .step = step, .total_bytes = t->file_bytes };
	return tree_dir_read(dir_fd, dir_name, t, count, &c, ret_lock, err);
}

int image_from_tar(int tar_fd, const char *tar_name, int out_fd,
		   const struct image_options *options, struct mvm_error *err)
{
	struct ext4_options to;
	AUTO(tree) t = NULL;

	int r = writer_options(options, &to, err);
	if (r == 0)
		r = tree_tar_scan(tar_fd, tar_name, to.now, NULL, &t, err);
	return r < 0 ? r : write_image(tar_fd, tar_name, t, read_tar, out_fd, &to, NULL, err);
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
