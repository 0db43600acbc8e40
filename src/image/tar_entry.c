/* SPDX-License-Identifier: Apache-2.0 */
#include "image/tar_entry.h"

#include <errno.h>
#include <string.h>

int tar_bad_entry(const struct tar_reader *tar, const char *path, const char *why,
		  struct mvm_error *err)
{
	return mvm_error_set(err, -EINVAL, "'%s': entry '%s' %s", tar->name, path, why);
}

int tar_changed(const struct tar_reader *tar, struct mvm_error *err)
{
	return mvm_error_set(err, -EBUSY, "'%s' changed while it was read", tar->name);
}

int tar_entry_type(struct archive_entry *e, enum tree_type *ret)
{
	switch (archive_entry_filetype(e)) {
	case AE_IFREG:
		*ret = TREE_FILE;
		return 0;
	case AE_IFDIR:
		*ret = TREE_FOLDER;
		return 0;
	case AE_IFLNK:
		*ret = TREE_SYMLINK;
		return 0;
	case AE_IFCHR:
		*ret = TREE_CHAR;
		return 0;
	case AE_IFBLK:
		*ret = TREE_BLOCK;
		return 0;
	case AE_IFIFO:
		*ret = TREE_FIFO;
		return 0;
	case AE_IFSOCK:
		*ret = TREE_SOCKET;
		return 0;
	default:
		return -EINVAL;
	}
}

static int bad_map(const struct tar_reader *tar, const char *path, struct mvm_error *err)
{
	return mvm_error_set(err, -EBADMSG,
			     "'%s' is damaged: entry '%s' has an invalid map of holes", tar->name,
			     path);
}

int tar_entry_size(const struct tar_reader *tar, const char *path, struct archive_entry *e,
		   struct tar_size *ret, struct mvm_error *err)
{
	la_int64_t size = archive_entry_size(e), offset, len;
	uint64_t stored = 0, units = 0, counted = 0; /* counted: end of the units counted so far */

	if (size < 0)
		return mvm_error_set(err, -EBADMSG, "'%s' is damaged: entry '%s' has no size",
				     tar->name, path);
	*ret = (struct tar_size){ .bytes = (uint64_t)size, .stored = (uint64_t)size };
	if (archive_entry_sparse_reset(e) == 0)
		return 0;
	while (archive_entry_sparse_next(e, &offset, &len) == ARCHIVE_OK) {
		if (offset < 0 || len < 0 || len > size || offset > size - len)
			return bad_map(tar, path, err);
		if (len == 0)
			continue; /* an empty run marks the file's end */
		uint64_t first = (uint64_t)offset / TREE_HOLE_UNIT;
		uint64_t after = (uint64_t)(offset + len - 1) / TREE_HOLE_UNIT + 1;
		if (first < counted)
			first = counted;
		if (after > first) {
			units += after - first;
			counted = after;
		}
		stored += (uint64_t)len;
	}
	ret->stored = stored;
	if (units * TREE_HOLE_UNIT < ret->bytes)
		ret->holes = ret->bytes - units * TREE_HOLE_UNIT;
	return 0;
}

static int copy_xattrs(struct tree *t, struct tree_inode *inode, struct archive_entry *e,
		       struct mvm_error *err)
{
	const char *name;
	const void *value;
	size_t len;

	tree_clear_xattrs(inode);
	archive_entry_xattr_reset(e); /* returns a number, not an error */
	while (archive_entry_xattr_next(e, &name, &value, &len) == ARCHIVE_OK) {
		if (!name || strncmp(name, "system.", 7) == 0)
			continue;
		int r = tree_set_xattr(t, inode, name, value, len, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int tar_describe(const struct tar_reader *tar, struct tree *t, struct tree_inode *inode,
		 const char *path, struct archive_entry *e, uint64_t content, struct mvm_error *err)
{
	la_int64_t uid = archive_entry_uid(e), gid = archive_entry_gid(e);

	if (uid < 0 || uid >= UINT32_MAX || gid < 0 || gid >= UINT32_MAX)
		return tar_bad_entry(tar, path, "has an owner out of range", err);
	inode->mode = archive_entry_perm(e) & 07777;
	inode->uid = (uint32_t)uid;
	inode->gid = (uint32_t)gid;
	inode->mtime = archive_entry_mtime(e);
	inode->content = content;
	if (inode->type == TREE_CHAR || inode->type == TREE_BLOCK) {
		inode->major = (uint32_t)archive_entry_rdevmajor(e);
		inode->minor = (uint32_t)archive_entry_rdevminor(e);
		if (inode->major > 0xfff || inode->minor > 0xfffff)
			return tar_bad_entry(tar, path, "is a device with a number out of range",
					     err);
	}
	int r = copy_xattrs(t, inode, e, err);
	return r < 0 ? mvm_error_context(err, r, "'%s': entry '%s'", tar->name, path) : 0;
}

int tar_contents(struct tar_reader *tar, struct tree_node *n, tree_content_fn fn, void *arg,
		 struct mvm_error *err)
{
	const uint64_t size = n->inode->size;
	uint64_t end = 0;
	const void *data;
	la_int64_t offset;
	size_t len;

	for (;;) {
		int r = archive_read_data_block(tar->a, &data, &len, &offset);
		if (r == ARCHIVE_EOF)
			return 0;
		if (!unpack_went_well(r))
			return unpack_failed(tar->a, tar->name, err);
		if (len == 0)
			continue;
		if (offset < 0 || (uint64_t)offset < end || (uint64_t)offset > size ||
		    len > size - (uint64_t)offset)
			return bad_map(tar, n->name, err);
		end = (uint64_t)offset + len;
		r = fn(arg, n, (uint64_t)offset, data, len, err);
		if (r < 0)
			return r;
	}
}
