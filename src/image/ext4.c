/* SPDX-License-Identifier: Apache-2.0 */
#include "image/ext4.h"

#include <endian.h>
#include <errno.h>
#include <et/com_err.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "codec/sha256.h"
#include "image/ext4_internal.h"

#define SIZE_MAX_BYTES	(UINT64_C(16) << 40) /* larger images need the 64bit feature */
#define BYTES_PER_INODE 16384u		     /* of an image with a given size */
#define INODE_SIZE	256u
#define LABEL_MAX	16u
#define GROUPS_PER_FLEX 4u /* 2^4 groups keep their tables together */
#define EXTRA_ISIZE	32u

int ext4_failed(struct mvm_error *err, long code, const char *doing)
{
	if (code > 0 && code < 4096) /* libext2fs passes errno through */
		return mvm_error_set(err, (int)-code, "%s: %s", doing, strerror((int)code));
	if (code == EXT2_ET_NO_MEMORY)
		return mvm_error_oom(err);
	if (code == EXT2_ET_BLOCK_ALLOC_FAIL)
		return mvm_error_set(err, -ENOSPC, "%s: the image is too small", doing);
	initialize_ext2_error_table();
	return mvm_error_set(err, -EIO, "%s: %s", doing, error_message(code));
}

/* Give libext2fs blocks for extended attributes from the run that files use. */
static errcode_t get_block(ext2_filsys fs, blk64_t goal, blk64_t *ret)
{
	struct ext4_writer *w = fs->priv_data;
	(void)goal;
	if (w->run_len == 0) {
		blk64_t last = ext2fs_blocks_count(fs->super) - 1;
		if (w->run_start > last)
			return EXT2_ET_BLOCK_ALLOC_FAIL;
		/* the caller marks the block as used */
		return ext2fs_find_first_zero_block_bitmap2(fs->block_map, w->run_start, last, ret);
	}
	*ret = w->run_start++;
	w->run_len--;
	return 0;
}

/* Numbers inodes in the order of the tree.  All names of a file share its number. */
static void forget_numbers(struct tree_node *folder)
{
	folder->inode->ino = 0;
	for (size_t i = 0; i < folder->n_children; i++) {
		if (folder->children[i]->inode->type == TREE_FOLDER)
			forget_numbers(folder->children[i]);
		folder->children[i]->inode->ino = 0;
	}
}

static void number_inodes(struct ext4_writer *w, struct tree_node *folder)
{
	for (size_t i = 0; i < folder->n_children; i++) {
		struct tree_inode *inode = folder->children[i]->inode;
		if (inode->ino == 0)
			inode->ino = ++w->last_ino;
	}
	for (size_t i = 0; i < folder->n_children; i++) {
		if (folder->children[i]->inode->type == TREE_FOLDER)
			number_inodes(w, folder->children[i]);
	}
}

static int number_tree(struct ext4_writer *w, struct mvm_error *err)
{
	struct tree_node *lost = tree_child(w->tree->root, EXT4_LOST_NAME);

	if (lost && lost->inode->type != TREE_FOLDER)
		return mvm_error_set(err, -EINVAL, "'/lost+found' must be a folder");
	forget_numbers(w->tree->root);
	w->tree->root->inode->ino = EXT2_ROOT_INO;
	w->last_ino = EXT4_LOST_INO;
	w->own_lost_found = !lost;
	if (lost)
		lost->inode->ino = EXT4_LOST_INO;
	number_inodes(w, w->tree->root);
	return 0;
}

/* Derive the uuid from the image, so that two disks of one machine differ. */
static void set_identity(struct ext4_writer *w, const char *label, uint64_t blocks)
{
	struct ext2_super_block *super = w->fs->super;
	uint64_t facts[2] = { htole64(blocks), htole64(w->last_ino) };
	struct mvm_digest digest;
	struct sha256 h;

	sha256_init(&h);
	sha256_add(&h, "mvm ext4", 8);
	sha256_add(&h, facts, sizeof(facts));
	sha256_add(&h, label, strlen(label));
	sha256_end(&h, &digest);
	memcpy(super->s_uuid, digest.bytes, sizeof(super->s_uuid));
	super->s_uuid[6] = (uint8_t)(0x80 | (super->s_uuid[6] & 0x0f)); /* RFC 9562, version 8 */
	super->s_uuid[8] = (uint8_t)(0x80 | (super->s_uuid[8] & 0x3f));
	memcpy(super->s_hash_seed, digest.bytes + 16, sizeof(super->s_hash_seed));
	memcpy(super->s_volume_name, label, strlen(label));
}

static int format(struct ext4_writer *w, uint64_t blocks, uint64_t inodes, const char *label,
		  int64_t now, struct mvm_error *err)
{
	struct ext2_super_block param = {
		.s_rev_level = EXT2_DYNAMIC_REV,
		.s_log_block_size = 2, /* 1024 << 2 */
		.s_log_cluster_size = 2,
		.s_blocks_count = (uint32_t)blocks,
		.s_inodes_count = (uint32_t)inodes,
		.s_inode_size = INODE_SIZE,
		.s_log_groups_per_flex = GROUPS_PER_FLEX,
		.s_feature_compat = EXT2_FEATURE_COMPAT_EXT_ATTR | EXT2_FEATURE_COMPAT_DIR_INDEX,
		.s_feature_incompat = EXT2_FEATURE_INCOMPAT_FILETYPE |
				      EXT3_FEATURE_INCOMPAT_EXTENTS | EXT4_FEATURE_INCOMPAT_FLEX_BG,
		.s_feature_ro_compat =
			EXT2_FEATURE_RO_COMPAT_SPARSE_SUPER | EXT2_FEATURE_RO_COMPAT_LARGE_FILE |
			EXT4_FEATURE_RO_COMPAT_HUGE_FILE | EXT4_FEATURE_RO_COMPAT_DIR_NLINK |
			EXT4_FEATURE_RO_COMPAT_EXTRA_ISIZE | EXT4_FEATURE_RO_COMPAT_METADATA_CSUM,
	};
	char path[FD_PATH_SIZE];

	if (ftruncate(w->fd, 0) < 0 || ftruncate(w->fd, (off_t)(blocks * EXT4_BLOCK)) < 0)
		return mvm_error_set(err, -errno, "cannot size the image: %s", strerror(errno));
	fd_path(w->fd, path);
	errcode_t e = ext2fs_initialize(path, EXT2_FLAG_64BITS, &param, unix_io_manager, &w->fs);
	if (e)
		return ext4_failed(err, e, "cannot format the image");

	w->fs->now = now > 0 ? now : 1; /* 0 would make libext2fs use the clock */
	w->fs->priv_data = w;
	ext2fs_set_alloc_block_callback(w->fs, get_block, NULL);
	struct ext2_super_block *super = w->fs->super;
	set_identity(w, label, blocks);
	super->s_checksum_type = EXT2_CRC32C_CHKSUM;
	ext2fs_init_csum_seed(w->fs);
	super->s_mkfs_time = super->s_lastcheck = super->s_wtime = (uint32_t)w->fs->now;
	super->s_max_mnt_count = -1;
	super->s_checkinterval = 0;
	super->s_min_extra_isize = super->s_want_extra_isize = EXTRA_ISIZE;
	super->s_def_hash_version = EXT2_HASH_HALF_MD4;
	super->s_flags |= EXT2_FLAGS_SIGNED_HASH;
	super->s_default_mount_opts = EXT2_DEFM_XATTR_USER | EXT2_DEFM_ACL;
	e = ext2fs_allocate_tables(w->fs);
	if (e)
		return ext4_failed(err, e, "cannot format the image");
	/* the file was empty, so unwritten blocks are zero: the first mount need not zero them */
	for (dgrp_t g = 0; g < w->fs->group_desc_count; g++)
		ext2fs_bg_flags_set(w->fs, g, EXT2_BG_INODE_ZEROED);
	ext2fs_inode_alloc_stats2(w->fs, EXT2_BAD_INO, 1, 0);
	for (uint32_t ino = EXT2_ROOT_INO + 1; ino < EXT4_LOST_INO; ino++)
		ext2fs_inode_alloc_stats2(w->fs, ino, 1, 0);
	return 0;
}

/* Write everything but files with contents. */
static int write_metadata(struct ext4_writer *w, const struct tree_node *folder,
			  struct mvm_error *err)
{
	int r = ext4_about(folder, ext4_write_folder(w, folder, err), err);
	for (size_t i = 0; r == 0 && i < folder->n_children; i++) {
		const struct tree_node *n = folder->children[i];
		if (n->inode->type == TREE_FOLDER)
			r = write_metadata(w, n, err);
		else if (n->inode->type != TREE_FILE && !w->written[n->inode->ino])
			r = ext4_about(n, ext4_write_other(w, n->inode, err), err);
	}
	return r;
}

static int begin(struct ext4_writer *w, const struct ext4_options *o, struct mvm_error *err)
{
	const char *label = o->label ? o->label : "";
	uint64_t blocks, inodes;

	if (strlen(label) > LABEL_MAX)
		return mvm_error_set(err, -EINVAL, "the label '%s' is longer than %u bytes", label,
				     LABEL_MAX);
	ext4_measure(w->tree, &blocks, &inodes);
	if (inodes < o->size_bytes / BYTES_PER_INODE)
		inodes = o->size_bytes / BYTES_PER_INODE;
	uint64_t needed = ext4_image_blocks(blocks, inodes);
	uint64_t total = o->size_bytes ? o->size_bytes / EXT4_BLOCK : needed;
	if (total * EXT4_BLOCK >= SIZE_MAX_BYTES || inodes >= UINT32_MAX)
		return mvm_error_set(err, -EFBIG, "an image cannot have %llu MiB",
				     (unsigned long long)(total / 256));
	if (total < needed)
		return mvm_error_set(err, -ENOSPC,
				     "an image of %llu MiB is too small for the files, which "
				     "take %llu MiB",
				     (unsigned long long)(total / 256),
				     (unsigned long long)(needed / 256));
	int r = number_tree(w, err);
	if (r == 0)
		r = format(w, total, inodes, label, o->now, err);
	if (r < 0)
		return r;
	w->written = calloc(w->last_ino + 1, 1);
	w->chunk = malloc(EXT4_CHUNK_SIZE);
	if (!w->written || !w->chunk)
		return mvm_error_oom(err);
	w->run_start = w->fs->super->s_first_data_block;
	r = write_metadata(w, w->tree->root, err);
	return r == 0 && w->own_lost_found ? ext4_write_lost_found(w, err) : r;
}

int ext4_begin(int fd, struct tree *t, const struct ext4_options *options, struct ext4_writer **ret,
	       struct mvm_error *err)
{
	AUTO(ext4_writer) w = calloc(1, sizeof(*w));
	if (!w)
		return mvm_error_oom(err);
	w->fd = fd;
	w->tree = t;
	w->step = options->step;
	w->journal = options->journal;
	int r = begin(w, options, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(w);
	return 0;
}

/* Write the files that got no contents: empty files, and files that are one hole. */
static int write_rest(struct ext4_writer *w, const struct tree_node *folder, struct mvm_error *err)
{
	int r = 0;
	for (size_t i = 0; r == 0 && i < folder->n_children; i++) {
		const struct tree_node *n = folder->children[i];
		if (n->inode->type == TREE_FOLDER)
			r = write_rest(w, n, err);
		else if (!w->written[n->inode->ino])
			r = ext4_about(n, ext4_write_other(w, n->inode, err), err);
	}
	return r;
}

int ext4_finish(struct ext4_writer *w, struct mvm_error *err)
{
	int r = ext4_close_file(w, err);
	/* report the step's end even if nothing was written */
	progress_bytes(w->step, w->tree->file_bytes, w->tree->file_bytes, NULL);
	if (r == 0)
		r = write_rest(w, w->tree->root, err);
	if (r < 0)
		return r;
	/* the file was empty, so the journal's blocks are holes and need no zeroing */
	errcode_t e = w->journal ? ext2fs_add_journal_inode(
					   w->fs,
					   ext2fs_default_journal_size(
						   ext2fs_blocks_count(w->fs->super)),
					   EXT2_MKJOURNAL_LAZYINIT | EXT2_MKJOURNAL_NO_MNT_CHECK)
				 : 0;
	if (!e)
		e = ext2fs_set_gdt_csum(w->fs);
	if (!e)
		e = ext2fs_close2(w->fs, EXT2_FLAG_FLUSH_NO_SYNC);
	if (e)
		return ext4_failed(err, e, "cannot write the image");
	w->fs = NULL;
	return 0;
}

void ext4_free(struct ext4_writer *w)
{
	if (!w)
		return;
	if (w->fs)
		ext2fs_free(w->fs); /* drops unwritten changes */
	free(w->map.extents);
	free(w->written);
	free(w->chunk);
	free(w);
}
