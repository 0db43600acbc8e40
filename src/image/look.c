/* SPDX-License-Identifier: Apache-2.0 */
#include "image/look.h"

#include <errno.h>
#include <ext2fs/ext2fs.h>
#include <fnmatch.h>
#include <limits.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"

#define NAME_SIZE 256 /* EXT2_NAME_LEN and a NUL */

struct look {
	ext2_filsys fs;
	const char *folder, *name; /* the two parts of the pattern */
	size_t pattern;
	image_found_fn fn;
	void *arg;
	bool over;
};

static bool is_something(ext2_filsys fs, ext2_ino_t ino)
{
	struct ext2_inode inode;
	if (ext2fs_read_inode(fs, ino, &inode))
		return false;
	return LINUX_S_ISLNK(inode.i_mode) ||
	       (LINUX_S_ISREG(inode.i_mode) && EXT2_I_SIZE(&inode) > 0);
}

static int on_entry(ext2_ino_t dir, int entry, struct ext2_dir_entry *e, int offset, int blocksize,
		    char *buf, void *arg)
{
	struct look *l = arg;
	char name[NAME_SIZE], path[PATH_MAX];
	(void)dir;
	(void)offset;
	(void)blocksize;
	(void)buf;

	snprintf(name, sizeof(name), "%.*s", ext2fs_dirent_name_len(e), e->name);
	if (entry != DIRENT_OTHER_FILE || fnmatch(l->name, name, 0) != 0 ||
	    !is_something(l->fs, e->inode))
		return 0;
	snprintf(path, sizeof(path), "%s/%s", l->folder, name);
	l->over = !l->fn(l->arg, l->pattern, path);
	return l->over ? DIRENT_ABORT : 0;
}

static int look_for(struct look *l, const char *pattern, struct mvm_error *err)
{
	const char *slash = strrchr(pattern, '/');
	AUTO_FREE char *folder = strndup(pattern, (size_t)(slash - pattern));
	ext2_ino_t ino;
	if (!folder)
		return mvm_error_oom(err);
	l->folder = folder;
	l->name = slash + 1;
	if (ext2fs_namei_follow(l->fs, EXT2_ROOT_INO, EXT2_ROOT_INO, folder, &ino) == 0)
		ext2fs_dir_iterate2(l->fs, ino, 0, NULL, on_entry, l); /* none if it is damaged */
	return 0;
}

int image_look(int image_fd, const char *const *patterns, size_t n, image_found_fn fn, void *arg,
	       struct mvm_error *err)
{
	struct look l = { .fn = fn, .arg = arg };
	char path[FD_PATH_SIZE];
	int r = 0;

	fd_path(image_fd, path);
	if (ext2fs_open(path, EXT2_FLAG_64BITS, 0, 0, unix_io_manager, &l.fs))
		return mvm_error_set(err, -EBADMSG, "the image is no ext4 file system");
	for (l.pattern = 0; l.pattern < n && r == 0 && !l.over; l.pattern++)
		r = look_for(&l, patterns[l.pattern], err);
	ext2fs_close(l.fs); /* nothing was written */
	return r;
}
