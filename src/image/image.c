/* SPDX-License-Identifier: Apache-2.0 */
#include "image/image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/parse.h"
#include "image/ext4.h"
#include "image/layer.h"
#include "image/tree_dir.h"

int image_epoch(int64_t *ret, struct mvm_error *err)
{
	const char *text = getenv("SOURCE_DATE_EPOCH");
	uint64_t seconds = 0;

	if (text && *text && parse_u64(text, 0, UINT32_MAX, &seconds) < 0)
		return mvm_error_set(
			err, -EINVAL,
			"SOURCE_DATE_EPOCH is '%s', not a number of seconds since 1970", text);
	*ret = (int64_t)seconds;
	return 0;
}

/* Fill in the options of the ext4 writer. */
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
	AUTO(ext4_writer) w = NULL;
	AUTO(tree) t = NULL;

	int r = writer_options(options, &to, err);
	if (r == 0)
		r = tree_dir_scan(dir_fd, dir_name, to.now, &t, err);
	if (r < 0)
		return r;
	r = ext4_begin(out_fd, t, &to, &w, err);
	if (r < 0)
		return mvm_error_context(err, r, "'%s'", dir_name);
	r = tree_dir_read(dir_fd, dir_name, t, ext4_write, w, ret_lock, err);
	if (r < 0)
		return r;
	r = ext4_finish(w, err);
	return r < 0 ? mvm_error_context(err, r, "'%s'", dir_name) : 0;
}

/* The sink of image_lock_dir(): it reports progress and drops the contents. */
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
	c->done_bytes += len;
	return progress_bytes(c->step, c->done_bytes, c->total_bytes, err);
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
	const struct layer_limits limits = { .unpacked_bytes = options ? options->max_bytes : 0 };
	struct layer_source tar = { .fd = tar_fd, .name = tar_name, .alone = true };
	struct ext4_options to;
	AUTO(tree) t = NULL;
	struct stat st;

	if (fstat(tar_fd, &st) < 0)
		return mvm_error_set(err, -errno, "cannot read '%s': %s", tar_name,
				     strerror(errno));
	tar.size = (uint64_t)st.st_size;
	tar.whole = options && options->whole;
	int r = writer_options(options, &to, err);
	if (r == 0)
		r = layers_scan(&tar, 1, to.now, &limits, &t, err);
	if (r == 0 && options && options->ret_unpacked_bytes)
		*options->ret_unpacked_bytes = t->unpacked_bytes;
	return r < 0 ? r : layers_write_image(&tar, 1, &limits, t, tar_name, out_fd, &to, err);
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
