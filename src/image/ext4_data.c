/* SPDX-License-Identifier: Apache-2.0 */
#include "image/ext4_internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

static int write_at(int fd, const uint8_t *data, size_t len, uint64_t offset)
{
	while (len > 0) {
		ssize_t n = pwrite(fd, data, len, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
		offset += (size_t)n;
	}
	return 0;
}

/* Write whole blocks of the current file to free blocks of the image. */
static int put_blocks(struct ext4_writer *w, uint64_t file_block, const uint8_t *data,
		      uint64_t count, struct mvm_error *err)
{
	while (count > 0) {
		uint64_t start, len;
		int r = ext4_take_blocks(w, count, &start, &len, err);
		if (r < 0)
			return r;
		r = write_at(w->fd, data, len * EXT4_BLOCK, start * EXT4_BLOCK);
		if (r < 0)
			return mvm_error_set(err, r, "cannot write the image: %s", strerror(-r));
		r = ext4_map_add(w, (uint32_t)file_block, start, len, err);
		if (r < 0)
			return r;
		file_block += len;
		data += len * EXT4_BLOCK;
		count -= len;
	}
	return 0;
}

/* Write the chunk's runs of non-zero units.  The rest of the file's last block is zero. */
static int flush_chunk(struct ext4_writer *w, struct mvm_error *err)
{
	size_t whole = (w->chunk_used + EXT4_BLOCK - 1) / EXT4_BLOCK * EXT4_BLOCK;
	size_t run = 0;

	memset(w->chunk + w->chunk_used, 0, whole - w->chunk_used);
	for (size_t at = 0, len; at < whole; at += len) {
		len = whole - at < TREE_HOLE_UNIT ? whole - at : TREE_HOLE_UNIT;
		bool zero = mem_is_zero(w->chunk + at, len);
		size_t end = zero ? at : at + len;
		if (end > run && (zero || end == whole)) {
			int r = put_blocks(w, (w->chunk_offset + run) / EXT4_BLOCK, w->chunk + run,
					   (end - run) / EXT4_BLOCK, err);
			if (r < 0)
				return r;
		}
		if (zero)
			run = at + len;
	}
	w->chunk_used = 0;
	return 0;
}

int ext4_close_file(struct ext4_writer *w, struct mvm_error *err)
{
	const struct tree_node *n = w->current;

	if (!n)
		return 0;
	const struct tree_inode *i = n->inode;
	w->current = NULL;
	int r = flush_chunk(w, err);
	if (r == 0)
		r = ext4_write_inode(w, i, i->ino, i->size, i->nlink, err);
	return ext4_about(n, r, err);
}

static int start_file(struct ext4_writer *w, struct tree_node *n, struct mvm_error *err)
{
	int r = ext4_close_file(w, err);
	if (r < 0)
		return r;
	if (n->inode->type != TREE_FILE || w->written[n->inode->ino])
		return mvm_error_set(err, -EINVAL, "'%s' takes no contents now", n->name);
	w->current = n;
	w->chunk_offset = 0;
	w->chunk_used = 0;
	w->next_offset = 0;
	return 0;
}

int ext4_write(void *arg, struct tree_node *n, uint64_t offset, const void *data, size_t len,
	       struct mvm_error *err)
{
	struct ext4_writer *w = arg;
	const uint8_t *p = data;

	if (!w->current || w->current->inode != n->inode) {
		int r = start_file(w, n, err);
		if (r < 0)
			return r;
	}
	if (offset < w->next_offset || offset > n->inode->size || len > n->inode->size - offset)
		return mvm_error_set(err, -EINVAL, "the contents of '%s' do not fit its size",
				     n->name);
	while (len > 0) {
		size_t within = offset % EXT4_CHUNK_SIZE;
		if (offset - within != w->chunk_offset) {
			int r = flush_chunk(w, err);
			if (r < 0)
				return r;
			w->chunk_offset = offset - within;
		}
		size_t take = EXT4_CHUNK_SIZE - within < len ? EXT4_CHUNK_SIZE - within : len;
		memset(w->chunk + w->chunk_used, 0, within - w->chunk_used);
		memcpy(w->chunk + within, p, take);
		w->chunk_used = within + take;
		p += take;
		offset += take;
		len -= take;
	}
	w->done_bytes += offset - w->next_offset;
	w->next_offset = offset;
	return progress_bytes(w->step, w->done_bytes, w->tree->file_bytes, err);
}
