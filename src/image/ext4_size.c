/* SPDX-License-Identifier: Apache-2.0 */
#include "image/ext4_internal.h"

#define GROUP_BLOCKS	 32768u /* 8 bits in each byte of the group's bitmap block */
#define GROUP_INODES	 32752u /* 8 bits as well, rounded down to full blocks of the inode table */
#define DESCRIPTOR_BYTES 32u
#define INODE_BYTES	 256u
#define HEADROOM_BLOCKS	 256u
#define ROUND_BLOCKS	 256u /* 1 MiB */

static uint64_t divide_up(uint64_t a, uint64_t b)
{
	return a / b + (a % b != 0);
}

/* Blocks of a file's extent tree in the worst case: every second unit is a hole.  `size` leaves out
 * the holes that are known, and a hole may follow each unit of data. */
static uint64_t extent_blocks(uint64_t size, bool has_holes)
{
	uint64_t extents = size / TREE_HOLE_UNIT / (has_holes ? 1 : 2);
	return extents <= 2 ? 0 : 1 + divide_up(extents, 340) + extents / 340 / 340;
}

static uint64_t inode_blocks(const struct tree_inode *i)
{
	uint64_t n = i->xattrs ? 1 : 0;

	if (i->type == TREE_FILE)
		n += divide_up(i->size - i->holes, EXT4_BLOCK) +
		     extent_blocks(i->size - i->holes, i->holes > 0);
	else if (i->type == TREE_SYMLINK)
		n += 1;
	return n;
}

static void measure_below(const struct tree_node *folder, uint64_t *blocks, uint64_t *inodes)
{
	*blocks += ext4_folder_blocks(folder, !folder->parent) + (folder->inode->xattrs ? 1 : 0) +
		   extent_blocks(folder->n_children * UINT64_C(264), false);
	*inodes += 1;
	for (size_t i = 0; i < folder->n_children; i++) {
		const struct tree_node *n = folder->children[i];
		if (n->inode->type == TREE_FOLDER) {
			measure_below(n, blocks, inodes);
			continue;
		}
		/* count a file again for each of its names: a larger image does no harm */
		*blocks += inode_blocks(n->inode);
		*inodes += 1;
	}
}

void ext4_measure(const struct tree *t, uint64_t *ret_blocks, uint64_t *ret_inodes)
{
	*ret_blocks = 1;		 /* lost+found */
	*ret_inodes = EXT4_LOST_INO - 1; /* all up to lost+found but the root */
	measure_below(t->root, ret_blocks, ret_inodes);
}

uint64_t ext4_image_blocks(uint64_t blocks, uint64_t inodes)
{
	uint64_t wanted = blocks + blocks / 64 + HEADROOM_BLOCKS;
	uint64_t groups = 1, total = 0;

	/* each group has bitmaps, and some have a copy of the superblock and the descriptors */
	for (;;) {
		uint64_t per_group = 3 + divide_up(groups * DESCRIPTOR_BYTES, EXT4_BLOCK);
		uint64_t per_table =
			divide_up(divide_up(inodes, groups) * INODE_BYTES, EXT4_BLOCK) + 1;
		total = wanted + groups * (per_group + per_table);
		uint64_t needed = divide_up(total, GROUP_BLOCKS);
		if (needed <= groups)
			break;
		groups = needed;
	}
	uint64_t for_inodes = divide_up(inodes, GROUP_INODES);
	if (for_inodes > 1 && total < for_inodes * GROUP_BLOCKS)
		total = for_inodes * GROUP_BLOCKS;
	return divide_up(total, ROUND_BLOCKS) * ROUND_BLOCKS;
}
