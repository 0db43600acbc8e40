/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

/*
 * Files and folders, always relative to an open folder (or AT_FDCWD), always close-on-exec.
 *
 * These wrappers know nothing that errno does not say.  They return 0 or more, or -errno, and their
 * callers describe the failure.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/str.h"

/* Read a whole regular file of at most max bytes; the caller frees the NUL-terminated text.
 * ret_len may be NULL.  -EFBIG over max; -EINVAL when it is no regular file. */
int file_read_at(int dir_fd, const char *name, size_t max, char **ret, size_t *ret_len);

/* file_read_at() by a path below dir_fd.  No part of the path may be a symbolic link (-ELOOP) or
 * lead out of dir_fd (-EXDEV).  One system call instead of one for each folder on the way. */
int file_read_below(int dir_fd, const char *path, size_t max, char **ret, size_t *ret_len);

/* file_read_at() from an open descriptor, starting at its offset; pipes and /proc work too. */
int file_read_fd(int fd, size_t max, char **ret, size_t *ret_len);

/* Read len bytes at an offset, however often the kernel stops early.  Returns their number, less
 * only where the file ends, or -errno. */
ssize_t file_read_range(int fd, void *ret, size_t len, uint64_t offset);

/* Open a regular file for reading.  Anything else is -EISDIR or -EINVAL; a fifo does not block. */
int file_open(const char *path);

/*
 * Open a file to append to, and create it if it is missing (mode 0600).
 *
 *   aside  if the file has a second hard link, it is renamed to this: writing to it would change
 *          somebody else's file
 *
 * Returns a descriptor to close; -EINVAL for anything but a regular file; or -errno.
 */
int file_open_append(int dir_fd, const char *name, const char *aside);

/* Write all len bytes, however often the kernel stops early. */
int file_write_all(int fd, const void *data, size_t len);

/* Write all len bytes at an offset, but skip blocks of zeros, which stay holes in a new file.  The
 * file must be long enough already. */
int file_write_sparse(int fd, const void *data, size_t len, off_t offset);

/* Make a file in memory with these bytes.  A descriptor at its start, to close, or -errno. */
int file_in_memory(const void *data, size_t len);

/* Create a file that must not exist, write, fsync it.  Not atomic: for staging folders. */
int file_create_at(int dir_fd, const char *name, const void *data, size_t len, mode_t mode);

/*
 * Replace a file whole, or create it: write to a temporary name in tmp_fd, fsync, rename to name
 * in dir_fd, fsync dir_fd.  Both folders lie on one file system.  A reader sees the old bytes or
 * the new ones; after a crash only the temporary, named "file.<random>", may stay in tmp_fd.
 */
int file_replace_at(int tmp_fd, int dir_fd, const char *name, const void *data, size_t len,
		    mode_t mode);

/* file_replace_at(), but a file that has the name stays: -EEXIST. */
int file_place_at(int tmp_fd, int dir_fd, const char *name, const void *data, size_t len,
		  mode_t mode);

/* file_replace_at() without any fsync and within one folder, for files that need not survive a
 * crash of the host.  Readers still see the old bytes or the new ones. */
int file_replace_unsynced_at(int dir_fd, const char *name, const void *data, size_t len,
			     mode_t mode);

/* Point the symbolic link name in dir_fd at target, atomically, as file_replace_at() does. */
int link_replace_at(int tmp_fd, int dir_fd, const char *name, const char *target);

/* Open a folder, never through a symbolic link in its last component. */
int dir_open_at(int dir_fd, const char *name);

/* Open a folder as dir_open_at(), but never one that is mounted there: -EXDEV. */
int dir_open_unmounted_at(int dir_fd, const char *name);

/* Create a folder if it is missing (mode 0700) and open it. */
int dir_make_at(int dir_fd, const char *name);

/* Create a folder with a random name, "<prefix><16 hex digits>"; open it. */
int dir_make_unique_at(int dir_fd, const char *prefix, char ret_name[64]);

/* Move a file or folder to a name as of dir_make_unique_at().  Needs no free block. */
int rename_unique_at(int dir_fd, const char *name, int to_fd, const char *prefix,
		     char ret_name[64]);

/* Is this a name that dir_make_unique_at() makes with this prefix? */
bool name_is_unique(const char *name, const char *prefix);

/* mkdir -p with mode 0700 for what is missing. */
int dir_make_path(const char *path);

/* The names in a folder, without "." and "..", in byte order. */
int dir_list(int dir_fd, struct strv *ret);

/* rm -rf one name.  Never follows links and stays in the folders it opened.  A missing name is
 * success.  A mount below it is left alone: -EXDEV or -EBUSY. */
int tree_remove_at(int dir_fd, const char *name);

/* tree_remove_at(), as long as go_on(arg) returns 0.  A negative result ends it, and some of the
 * tree stays. */
int tree_remove_while_at(int dir_fd, const char *name, int (*go_on)(const void *arg),
			 const void *arg);

/* Copy the whole file: reflink if the file system can, else data only, holes stay holes.
 * Returns 1 if reflinked, 0 if copied. */
int file_copy_fd(int from_fd, int to_fd);

/* The same in parts, for a caller that does other work between them.  A call copies at most
 * max_bytes of data.  Returns 0 when all is copied, 1 when more is left, or -errno. */
struct file_copying {
	bool begun, reflinked;
	off_t size, at, end; /* of the file; the next byte; where this part's data ends */
};
int file_copy_some(struct file_copying *c, int from_fd, int to_fd, off_t max_bytes);

/* Is the file at this name still the one open as fd? */
bool file_is_at(int fd, int dir_fd, const char *name);

/*
 * By what a file is known again without reading it: its device, inode, size and both times.  Any
 * write, and any link that is made or removed, changes it, as none but the kernel sets ctime.
 *
 * The caller's, or NULL.
 */
char *file_identity(const struct stat *st);

/* fsync a folder, so that renames and links in it are on disk. */
int dir_sync(int dir_fd);

/* n bytes from the kernel's generator. */
void random_bytes(void *ret, size_t n);

/* A version 4 UUID, lower-case.  Source: RFC 9562, 5.4. */
#define UUID_SIZE 37
void random_uuid(char ret[UUID_SIZE]);

/* This process's umask, read without the set and reset of umask(2), which other threads would see.
 * 077 when it cannot be read. */
mode_t process_umask(void);

/* /proc/self/fd/<fd>, for system calls that want a path. */
#define FD_PATH_SIZE 32
void fd_path(int fd, char ret[FD_PATH_SIZE]);

/* Open a folder by an absolute path.  -ELOOP when a part of the path is a symbolic link. */
int dir_open_without_links(const char *path);

#endif
