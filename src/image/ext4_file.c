/* SPDX-License-Identifier: Apache-2.0 */
#include "image/ext4_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define EXTENT_MAX	 32768u /* blocks; a larger number marks an extent as not initialised */
#define EXTENTS_IN_INODE 4u
#define EXTENTS_IN_BLOCK ((EXT4_BLOCK - 12u - 4u) / 12u) /* header, checksum */
#define EXTENT_DEPTH_MAX 5u
#define FAST_LINK_MAX	 59u
#define EXTRA_ISIZE	 32u
#define LINKS_MAX	 65000u
#define TIME_MIN	 INT64_C(-0x80000000)
#define TIME_MAX	 INT64_C(0x37fffffff)

int ext4_take_blocks(struct ext4_writer *w, uint64_t want, uint64_t *ret_start, uint64_t *ret_len,
		     struct mvm_error *err)
{
	if (w->run_len == 0) {
		ext2fs_block_bitmap map = w->fs->block_map;
		blk64_t last = ext2fs_blocks_count(w->fs->super) - 1, first, end;
		if (w->run_start > last ||
		    ext2fs_find_first_zero_block_bitmap2(map, w->run_start, last, &first) != 0)
			return mvm_error_set(err, -ENOSPC, "the image is too small for the files");
		if (ext2fs_find_first_set_block_bitmap2(map, first, last, &end) != 0)
			end = last + 1;
		w->run_start = first;
		w->run_len = end - first;
	}
	uint64_t len = want < w->run_len ? want : w->run_len;
	if (len > EXTENT_MAX)
		len = EXTENT_MAX;
	ext2fs_block_alloc_stats_range(w->fs, w->run_start, (blk_t)len, 1);
	*ret_start = w->run_start;
	*ret_len = len;
	w->run_start += len;
	w->run_len -= len;
	return 0;
}

int ext4_map_add(struct ext4_writer *w, uint32_t file_block, uint64_t block, uint64_t count,
		 struct mvm_error *err)
{
	struct ext4_map *m = &w->map;
	struct ext4_extent *last = m->n ? &m->extents[m->n - 1] : NULL;

	m->n_blocks += count;
	if (last && last->file_block + last->count == file_block &&
	    last->block + last->count == block && last->count + count <= EXTENT_MAX) {
		last->count += (uint32_t)count;
		return 0;
	}
	if (m->n == m->cap) {
		size_t cap = m->cap ? 2 * m->cap : 64;
		struct ext4_extent *extents = realloc(m->extents, cap * sizeof(*extents));
		if (!extents)
			return mvm_error_oom(err);
		m->extents = extents;
		m->cap = cap;
	}
	assert(m->extents);
	m->extents[m->n++] = (struct ext4_extent){ file_block, (uint32_t)count, block };
	return 0;
}

static void put_le16(uint8_t *p, uint32_t value)
{
	p[0] = (uint8_t)value;
	p[1] = (uint8_t)(value >> 8);
}

static void put_le32(uint8_t *p, uint64_t value)
{
	put_le16(p, (uint32_t)value & 0xffff);
	put_le16(p + 2, (uint32_t)(value >> 16) & 0xffff);
}

/* Write one node of the extent tree: a header and n entries.  These are extents at depth 0, and
 * references to nodes above. */
static void put_node(uint8_t *p, const struct ext4_extent *e, size_t n, size_t max, unsigned depth)
{
	put_le16(p, EXT3_EXT_MAGIC);
	put_le16(p + 2, (uint32_t)n);
	put_le16(p + 4, (uint32_t)max);
	put_le16(p + 6, depth);
	put_le32(p + 8, 0);
	for (size_t i = 0; i < n; i++) {
		p += 12;
		put_le32(p, e[i].file_block);
		if (depth == 0) {
			put_le16(p + 4, e[i].count);
			put_le16(p + 6, (uint32_t)(e[i].block >> 32));
			put_le32(p + 8, e[i].block);
		} else {
			put_le32(p + 4, e[i].block);
			put_le16(p + 8, (uint32_t)(e[i].block >> 32));
			put_le16(p + 10, 0);
		}
	}
}

/* Move the entries into blocks of their own, and leave references to those blocks in m. */
static int push_level(struct ext4_writer *w, uint32_t ino, unsigned depth, struct mvm_error *err)
{
	struct ext4_map *m = &w->map;
	_Alignas(8) uint8_t buf[EXT4_BLOCK];
	size_t n_nodes = 0;

	for (size_t at = 0; at < m->n; n_nodes++) {
		size_t n = m->n - at < EXTENTS_IN_BLOCK ? m->n - at : EXTENTS_IN_BLOCK;
		uint64_t block = 0, len;
		int r = ext4_take_blocks(w, 1, &block, &len, err);
		if (r < 0)
			return r;
		m->n_blocks++;
		memset(buf, 0, sizeof(buf));
		put_node(buf, m->extents + at, n, EXTENTS_IN_BLOCK, depth);
		errcode_t e = ext2fs_extent_block_csum_set(w->fs, ino, (void *)buf);
		if (!e)
			e = io_channel_write_blk64(w->fs->io, block, 1, buf);
		if (e)
			return ext4_failed(err, e, "cannot write the image");
		/* n_nodes <= at, so the entry that this replaces has been written */
		m->extents[n_nodes] = (struct ext4_extent){ m->extents[at].file_block, 1, block };
		at += n;
	}
	m->n = n_nodes;
	return 0;
}

static int put_extents(struct ext4_writer *w, uint32_t ino, struct ext2_inode_large *raw,
		       struct mvm_error *err)
{
	unsigned depth = 0;

	for (; w->map.n > EXTENTS_IN_INODE; depth++) {
		assert(depth < EXTENT_DEPTH_MAX);
		int r = push_level(w, ino, depth, err);
		if (r < 0)
			return r;
	}
	put_node((uint8_t *)raw->i_block, w->map.extents, w->map.n, EXTENTS_IN_INODE, depth);
	raw->i_flags |= EXT4_EXTENTS_FL;
	return 0;
}

static uint16_t mode_of(const struct tree_inode *i)
{
	static const uint16_t types[] = {
		[TREE_FILE] = LINUX_S_IFREG,	[TREE_FOLDER] = LINUX_S_IFDIR,
		[TREE_SYMLINK] = LINUX_S_IFLNK, [TREE_CHAR] = LINUX_S_IFCHR,
		[TREE_BLOCK] = LINUX_S_IFBLK,	[TREE_FIFO] = LINUX_S_IFIFO,
		[TREE_SOCKET] = LINUX_S_IFSOCK,
	};
	return (uint16_t)(types[i->type] | (i->mode & 07777));
}

static void put_times(struct ext2_inode_large *raw, int64_t t)
{
	if (t < TIME_MIN)
		t = TIME_MIN;
	if (t > TIME_MAX)
		t = TIME_MAX;
	/* 32 signed bits, and two more that count how often those have wrapped */
	uint32_t low = (uint32_t)(uint64_t)t;
	uint32_t extra = (uint32_t)((uint64_t)(t - (int32_t)low) >> 32) & 3;
	raw->i_atime = raw->i_ctime = raw->i_mtime = raw->i_crtime = low;
	raw->i_atime_extra = raw->i_ctime_extra = raw->i_mtime_extra = raw->i_crtime_extra = extra;
}

/* Write a device number: in the old form (i_block[0]) if it fits, else in the new one. */
static void put_device(struct ext2_inode_large *raw, const struct tree_inode *i)
{
	if (i->major < 256 && i->minor < 256)
		raw->i_block[0] = i->major << 8 | i->minor;
	else
		raw->i_block[1] = (i->minor & 0xff) | (i->major & 0xfff) << 8 |
				  (i->minor & 0xfff00) << 12;
}

static int put_xattrs(struct ext4_writer *w, const struct tree_inode *i, uint32_t ino,
		      struct mvm_error *err)
{
	struct ext2_xattr_handle *handle;

	errcode_t e = ext2fs_xattrs_open(w->fs, ino, &handle);
	if (e)
		return ext4_failed(err, e, "cannot write extended attributes");
	for (const struct tree_xattr *x = i->xattrs; x && !e; x = x->next)
		e = ext2fs_xattr_set(handle, x->name, x->value, x->len);
	errcode_t closed = ext2fs_xattrs_close(&handle);
	if (e == EXT2_ET_EA_NO_SPACE)
		return mvm_error_set(err, -EFBIG, "its extended attributes take more than 4 KiB");
	if (e || closed)
		return ext4_failed(err, e ? e : closed, "cannot write extended attributes");
	return 0;
}

static int write_raw(struct ext4_writer *w, const struct tree_inode *i, uint32_t ino,
		     struct ext2_inode_large *raw, struct mvm_error *err)
{
	uint64_t sectors = w->map.n_blocks * (EXT4_BLOCK / 512);

	raw->i_mode = mode_of(i);
	raw->i_uid = (uint16_t)i->uid;
	raw->i_gid = (uint16_t)i->gid;
	raw->osd2.linux2.l_i_uid_high = (uint16_t)(i->uid >> 16);
	raw->osd2.linux2.l_i_gid_high = (uint16_t)(i->gid >> 16);
	raw->i_extra_isize = EXTRA_ISIZE;
	raw->i_blocks = (uint32_t)sectors;
	raw->osd2.linux2.l_i_blocks_hi = (uint16_t)(sectors >> 32);
	put_times(raw, i->mtime);
	w->map.n = 0;
	w->map.n_blocks = 0;

	ext2fs_inode_alloc_stats2(w->fs, ino, 1, i->type == TREE_FOLDER);
	w->written[ino] = 1;
	errcode_t e = ext2fs_write_inode_full(w->fs, ino, (struct ext2_inode *)(void *)raw,
					      sizeof(*raw));
	if (e)
		return ext4_failed(err, e, "cannot write the image");
	return i->xattrs ? put_xattrs(w, i, ino, err) : 0;
}

int ext4_write_inode(struct ext4_writer *w, const struct tree_inode *i, uint32_t ino, uint64_t size,
		     uint32_t nlink, struct mvm_error *err)
{
	struct ext2_inode_large raw = { 0 };

	if (nlink > LINKS_MAX && i->type != TREE_FOLDER)
		return mvm_error_set(err, -EINVAL, "it has %u names, and ext4 allows %u", nlink,
				     LINKS_MAX);
	raw.i_links_count = (uint16_t)(nlink >= LINKS_MAX && i->type == TREE_FOLDER ? 1 : nlink);
	raw.i_size = (uint32_t)size;
	raw.i_size_high = (uint32_t)(size >> 32);
	int r = put_extents(w, ino, &raw, err);
	return r < 0 ? r : write_raw(w, i, ino, &raw, err);
}

static int write_long_link(struct ext4_writer *w, const struct tree_inode *i, size_t len,
			   struct mvm_error *err)
{
	_Alignas(8) char buf[EXT4_BLOCK] = { 0 };
	uint64_t block, n;

	memcpy(buf, i->target, len); /* tree_add() keeps it below a block */
	int r = ext4_take_blocks(w, 1, &block, &n, err);
	if (r < 0)
		return r;
	errcode_t e = io_channel_write_blk64(w->fs->io, block, 1, buf);
	if (e)
		return ext4_failed(err, e, "cannot write the image");
	r = ext4_map_add(w, 0, block, 1, err);
	return r < 0 ? r : ext4_write_inode(w, i, i->ino, len, i->nlink, err);
}

int ext4_write_other(struct ext4_writer *w, const struct tree_inode *i, struct mvm_error *err)
{
	struct ext2_inode_large raw = { 0 };
	size_t len = i->target ? strlen(i->target) : 0;

	if (len > FAST_LINK_MAX)
		return write_long_link(w, i, len, err);
	if (i->type == TREE_FILE)
		return ext4_write_inode(w, i, i->ino, i->size, i->nlink, err);
	if (i->nlink > LINKS_MAX)
		return mvm_error_set(err, -EINVAL, "it has %u names, and ext4 allows %u", i->nlink,
				     LINKS_MAX);
	raw.i_links_count = (uint16_t)i->nlink;
	raw.i_size = (uint32_t)len;
	if (i->target)
		memcpy(raw.i_block, i->target, len);
	else if (i->type == TREE_CHAR || i->type == TREE_BLOCK)
		put_device(&raw, i);
	return write_raw(w, i, i->ino, &raw, err);
}

int ext4_about(const struct tree_node *n, int r, struct mvm_error *err)
{
	char path[TREE_PATH_SIZE];

	if (r != -EFBIG && r != -EINVAL)
		return r; /* the disk or memory failed, so this file is not to blame */
	tree_path(n, path);
	return mvm_error_context(err, r, "'%s'", path);
}
