/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_EXT4_INTERNAL_H
#define IMAGE_EXT4_INTERNAL_H

/* The internal interface of the ext4 writer: ext4.c (the file system), ext4_size.c (how large),
 * ext4_dir.c (folders), ext4_file.c (blocks, extents, inodes), ext4_data.c (contents). */

#include <ext2fs/ext2fs.h>

#include "image/ext4.h"

#define EXT4_BLOCK	4096u
#define EXT4_CHUNK_SIZE (1u << 20) /* a multiple of EXT4_BLOCK */
#define EXT4_LOST_INO	11u	   /* lost+found, the first inode that is not reserved */
#define EXT4_LOST_NAME	"lost+found"

/* A run of a file's blocks. */
struct ext4_extent {
	uint32_t file_block;
	uint32_t count;
	uint64_t block;
};

/* The blocks of the file that is being written. */
struct ext4_map {
	struct ext4_extent *extents; /* in file order */
	size_t n, cap;
	uint64_t n_blocks; /* taken from the image, those of the extent tree included */
};

struct ext4_writer {
	ext2_filsys fs;
	int fd;
	struct tree *tree;
	struct progress_step *step;  /* may be NULL */
	uint64_t done_bytes;	     /* contents, holes included */
	bool journal;		     /* make one at the end */
	bool own_lost_found;	     /* the tree has none */
	uint64_t run_start, run_len; /* free blocks, next to be handed out */
	struct ext4_map map;	     /* of `current`, or of a folder */
	struct tree_node *current;   /* the file being written, NULL: none */
	uint8_t *chunk;		     /* EXT4_CHUNK_SIZE bytes of `current` */
	uint64_t chunk_offset;	     /* where the chunk belongs in the file */
	size_t chunk_used;
	uint64_t next_offset; /* first byte of `current` that was not written yet */
	uint8_t *written;     /* by inode number: its inode is in the image */
	uint32_t last_ino;
};

/* Describe a failure of libext2fs.  Returns a negative errno. */
int ext4_failed(struct mvm_error *err, long code, const char *doing);

/* ext4_size.c: blocks and inodes that the tree takes, without the file system's own. */
void ext4_measure(const struct tree *t, uint64_t *ret_blocks, uint64_t *ret_inodes);
/* Blocks of an image with room for both. */
uint64_t ext4_image_blocks(uint64_t blocks, uint64_t inodes);

/* ext4_dir.c */
uint64_t ext4_folder_blocks(const struct tree_node *folder, bool with_lost_found);
int ext4_write_folder(struct ext4_writer *w, const struct tree_node *folder, struct mvm_error *err);
int ext4_write_lost_found(struct ext4_writer *w, struct mvm_error *err);

/* ext4_file.c */

/* Take up to want blocks in one run.  -ENOSPC. */
int ext4_take_blocks(struct ext4_writer *w, uint64_t want, uint64_t *ret_start, uint64_t *ret_len,
		     struct mvm_error *err);

/* Append a run of blocks to w->map. */
int ext4_map_add(struct ext4_writer *w, uint32_t file_block, uint64_t block, uint64_t count,
		 struct mvm_error *err);

/* Write an inode with the blocks of w->map (symbolic links and devices have none), and empty the
 * map.  size: of a folder or file. */
int ext4_write_inode(struct ext4_writer *w, const struct tree_inode *i, uint32_t ino, uint64_t size,
		     uint32_t nlink, struct mvm_error *err);

/* Write the inode of something that is neither folder nor file with contents. */
int ext4_write_other(struct ext4_writer *w, const struct tree_inode *i, struct mvm_error *err);

/* Add the file's name to an error that is about the file.  Returns r. */
int ext4_about(const struct tree_node *n, int r, struct mvm_error *err);

/* ext4_data.c: write the rest of the current file, if any. */
int ext4_close_file(struct ext4_writer *w, struct mvm_error *err);

#endif
