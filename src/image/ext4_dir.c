/* SPDX-License-Identifier: Apache-2.0 */
#include "image/ext4_internal.h"

#include <string.h>

/*
 * Folders: blocks of linear entries, built in one pass.  The last 12 bytes of each block hold its
 * checksum.  There is no hashed index: libext2fs cannot make one, and the kernel does not need it.
 */

#define ENTRY_HEADER 8u
#define TAIL_BYTES   12u
#define USABLE	     (EXT4_BLOCK - TAIL_BYTES)

static uint32_t entry_size(size_t name_len)
{
	return (uint32_t)((ENTRY_HEADER + name_len + 3) & ~(size_t)3);
}

/* Size of the first entries: ".", "..", and lost+found if we add it. */
static uint32_t first_entries(bool with_lost_found)
{
	return 2 * entry_size(2) + (with_lost_found ? entry_size(strlen(EXT4_LOST_NAME)) : 0);
}

uint64_t ext4_folder_blocks(const struct tree_node *folder, bool with_lost_found)
{
	uint64_t blocks = 1;
	uint32_t used = first_entries(with_lost_found);

	for (size_t i = 0; i < folder->n_children; i++) {
		uint32_t size = entry_size(strlen(folder->children[i]->name));
		if (used + size > USABLE) {
			blocks++;
			used = 0;
		}
		used += size;
	}
	return blocks;
}

/* One block being filled. */
struct filling {
	struct ext4_writer *w;
	uint32_t ino;	      /* of the folder */
	uint64_t block, left; /* the current block; blocks that follow it in the same run */
	uint64_t unplaced;    /* blocks of the folder without a place yet */
	uint32_t file_block;  /* number of blocks in runs so far */
	uint32_t used;
	struct ext2_dir_entry *last; /* in buf; it gets the rest of the block */
	_Alignas(8) char buf[EXT4_BLOCK];
};

static int next_block(struct filling *f, struct mvm_error *err)
{
	f->used = 0;
	f->last = NULL;
	memset(f->buf, 0, sizeof(f->buf));
	if (f->left > 0) {
		f->block++;
		f->left--;
		return 0;
	}
	uint64_t len;
	int r = ext4_take_blocks(f->w, f->unplaced, &f->block, &len, err);
	if (r < 0)
		return r;
	r = ext4_map_add(f->w, f->file_block, f->block, len, err);
	if (r < 0)
		return r;
	f->file_block += (uint32_t)len;
	f->unplaced -= len;
	f->left = len - 1;
	return 0;
}

static int flush_block(struct filling *f, struct mvm_error *err)
{
	f->last->rec_len = (uint16_t)(f->last->rec_len + (USABLE - f->used));
	ext2fs_initialize_dirent_tail(f->w->fs, (void *)(f->buf + USABLE));
	errcode_t e = ext2fs_write_dir_block4(f->w->fs, f->block, f->buf, 0, f->ino);
	return e ? ext4_failed(err, e, "cannot write a folder of the image") : 0;
}

static int put_entry(struct filling *f, const char *name, uint32_t ino, int type,
		     struct mvm_error *err)
{
	size_t len = strlen(name);
	uint32_t size = entry_size(len);

	if (f->used + size > USABLE) {
		int r = flush_block(f, err);
		if (r == 0)
			r = next_block(f, err);
		if (r < 0)
			return r;
	}
	/* entries are 4-byte aligned in an 8-byte aligned buffer */
	struct ext2_dir_entry *e = (struct ext2_dir_entry *)(void *)(f->buf + f->used);
	e->inode = ino;
	e->rec_len = (uint16_t)size;
	ext2fs_dirent_set_name_len(e, (int)len);
	ext2fs_dirent_set_file_type(e, type);
	memcpy(e->name, name, len);
	f->used += size;
	f->last = e;
	return 0;
}

static int file_type(enum tree_type type)
{
	switch (type) {
	case TREE_FILE:
		return EXT2_FT_REG_FILE;
	case TREE_FOLDER:
		return EXT2_FT_DIR;
	case TREE_SYMLINK:
		return EXT2_FT_SYMLINK;
	case TREE_CHAR:
		return EXT2_FT_CHRDEV;
	case TREE_BLOCK:
		return EXT2_FT_BLKDEV;
	case TREE_FIFO:
		return EXT2_FT_FIFO;
	case TREE_SOCKET:
		return EXT2_FT_SOCK;
	}
	return EXT2_FT_UNKNOWN;
}

static int begin_folder(struct filling *f, uint32_t parent_ino, struct mvm_error *err)
{
	int r = next_block(f, err);
	if (r == 0)
		r = put_entry(f, ".", f->ino, EXT2_FT_DIR, err);
	return r == 0 ? put_entry(f, "..", parent_ino, EXT2_FT_DIR, err) : r;
}

int ext4_write_folder(struct ext4_writer *w, const struct tree_node *folder, struct mvm_error *err)
{
	const struct tree_inode *inode = folder->inode;
	bool with_lost_found = !folder->parent && w->own_lost_found;
	uint64_t blocks = ext4_folder_blocks(folder, with_lost_found);
	struct filling f = { .w = w, .ino = inode->ino, .unplaced = blocks };

	int r = begin_folder(&f, folder->parent ? folder->parent->inode->ino : inode->ino, err);
	if (r == 0 && with_lost_found)
		r = put_entry(&f, EXT4_LOST_NAME, EXT4_LOST_INO, EXT2_FT_DIR, err);
	for (size_t i = 0; r == 0 && i < folder->n_children; i++) {
		const struct tree_node *n = folder->children[i];
		r = put_entry(&f, n->name, n->inode->ino, file_type(n->inode->type), err);
	}
	if (r == 0)
		r = flush_block(&f, err);
	if (r < 0)
		return r;
	return ext4_write_inode(w, inode, inode->ino, blocks * EXT4_BLOCK,
				inode->nlink + with_lost_found, err);
}

int ext4_write_lost_found(struct ext4_writer *w, struct mvm_error *err)
{
	static const struct tree_inode inode = { .type = TREE_FOLDER, .mode = 0700 };
	struct filling f = { .w = w, .ino = EXT4_LOST_INO, .unplaced = 1 };

	int r = begin_folder(&f, EXT2_ROOT_INO, err);
	if (r == 0)
		r = flush_block(&f, err);
	return r < 0 ? r : ext4_write_inode(w, &inode, EXT4_LOST_INO, EXT4_BLOCK, 2, err);
}
