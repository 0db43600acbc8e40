/* SPDX-License-Identifier: Apache-2.0 */
#include "image/tar_entry.h"

#include <errno.h>
#include <string.h>

int tar_next(struct tar_reader *tar, struct archive_entry **ret, struct mvm_error *err)
{
	if (tar->entry > 0 && archive_read_data_skip(tar->a) < ARCHIVE_WARN)
		return unpack_failed(tar->a, tar->name, err);
	la_int64_t before = archive_filter_bytes(tar->a, 0);
	int r = archive_read_next_header(tar->a, ret);
	if (r == ARCHIVE_EOF) {
		/* an archive ends with blocks of zeros; libarchive would forgive their lack */
		if (tar->entry > 0 && archive_filter_bytes(tar->a, 0) == before)
			return mvm_error_set(err, -EBADMSG, "'%s' is damaged: it ends too early",
					     tar->name);
		return 0;
	}
	if (r < ARCHIVE_WARN) /* warnings are about names that are not in the locale's charset */
		return unpack_failed(tar->a, tar->name, err);
	tar->entry++;
	return 1;
}

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

static int copy_xattrs(struct tree *t, struct tree_inode *inode, struct archive_entry *e,
		       struct mvm_error *err)
{
	const char *name;
	const void *value;
	size_t len;

	tree_clear_xattrs(inode);
	(void)archive_entry_xattr_reset(e); /* returns their number */
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
		return tar_bad_entry(tar, path, "has an owner that is out of range", err);
	inode->mode = archive_entry_perm(e) & 07777;
	inode->uid = (uint32_t)uid;
	inode->gid = (uint32_t)gid;
	inode->mtime = archive_entry_mtime(e);
	inode->content = content;
	if (inode->type == TREE_CHAR || inode->type == TREE_BLOCK) {
		inode->major = (uint32_t)archive_entry_rdevmajor(e);
		inode->minor = (uint32_t)archive_entry_rdevminor(e);
		if (inode->major > 0xfff || inode->minor > 0xfffff)
			return tar_bad_entry(tar, path, "is a device that Linux cannot number",
					     err);
	}
	int r = copy_xattrs(t, inode, e, err);
	return r < 0 ? mvm_error_context(err, r, "'%s': entry '%s'", tar->name, path) : 0;
}

int tar_contents(struct tar_reader *tar, struct tree_node *n, tree_content_fn fn, void *arg,
		 struct mvm_error *err)
{
	const void *data;
	la_int64_t offset;
	size_t len;

	for (;;) {
		int r = archive_read_data_block(tar->a, &data, &len, &offset);
		if (r == ARCHIVE_EOF)
			return 0;
		if (r < ARCHIVE_WARN)
			return unpack_failed(tar->a, tar->name, err);
		uint64_t size = n->inode->size;
		if (offset < 0 || (uint64_t)offset > size || len > size - (uint64_t)offset)
			return tar_changed(tar, err);
		r = len ? fn(arg, n, (uint64_t)offset, data, len, err) : 0;
		if (r < 0)
			return r;
	}
}
