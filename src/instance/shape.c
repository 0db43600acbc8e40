/* SPDX-License-Identifier: Apache-2.0 */
/* Tells the files that mvm puts into an instance's folder from foreign files. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/lock.h"
#include "instance/data_disk.h"
#include "instance/folder.h"
#include "instance/instance.h"
#include "instance/logfile.h"

#define VMM_FOLDER    "firecracker-"
#define VMM_STATE     "vmstate.bin"
#define VMM_DEPTH_MAX 8 /* a jail is three folders deep, and has /dev/net in it */

static bool is_kind(int dir_fd, const char *name, mode_t kind)
{
	struct stat st;
	return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       (st.st_mode & S_IFMT) == kind;
}

/*
 * Is this one of the first files of a folder, or one that may still come while the folder is being
 * removed?  The order of the first files: lock, socket, record.  A start that takes a VM of a pool,
 * or a rename, has the folder open and writes its own file there, whether the VM still lives or
 * not.
 */
static bool is_first(int dir_fd, const char *name)
{
	if (str_eq(name, INSTANCE_SOCKET_NAME))
		return is_kind(dir_fd, name, S_IFSOCK);
	/* "file.": a record that is being replaced */
	return is_kind(dir_fd, name, S_IFREG) &&
	       (str_eq(name, INSTANCE_LOCK_NAME) || str_eq(name, RECORD_NAME) ||
		str_eq(name, INSTANCE_WANTED_NAME) || str_eq(name, INSTANCE_RENAME_NAME) ||
		name_is_unique(name, "file."));
}

static bool is_later(int dir_fd, const char *name)
{
	/* mem.bin: with --private-memory, until the VMM has mapped it */
	static const char *const names[] = {
		"supervisor.log",
		"mem.bin",
		DATA_DISK_NAME,
		CONSOLE_LOG_NAME,
		WORKLOAD_LOG_NAME,
		CONSOLE_LOG_NAME LOGFILE_OLD_SUFFIX,
		WORKLOAD_LOG_NAME LOGFILE_OLD_SUFFIX,
	};

	for (size_t i = 0; i < MVM_ARRAY_SIZE(names); i++) {
		if (str_eq(name, names[i]))
			return is_kind(dir_fd, name, S_IFREG);
	}
	return false;
}

/*
 * Is this a file of Firecracker's working folder or jail?  These have links, sockets, devices and
 * mount points, which are empty files.  Only Firecracker's state and its program, which the jailer
 * copies, have content.
 *
 *   program  the folder in a jail that is named after the program; NULL: not in a jail
 */
static int is_vmms(int parent_fd, const char *name, const char *program, unsigned depth)
{
	AUTO_DONE(strv) names = { 0 };
	AUTO_CLOSE int fd = depth ? dir_open_at(parent_fd, name) : -ELOOP;
	int r = fd < 0 ? fd : dir_list(fd, &names);

	r = r == 0 ? 1 : r;
	for (size_t i = 0; r == 1 && i < names.n; i++) {
		const char *below = names.v[i];
		struct stat st;
		if (fstatat(fd, below, &st, AT_SYMLINK_NOFOLLOW) < 0)
			r = errno == ENOENT ? 1 : -errno;
		else if (S_ISDIR(st.st_mode))
			r = is_vmms(fd, below, program ? program : below, depth - 1);
		else if (S_ISREG(st.st_mode) && st.st_size > 0)
			r = str_eq(below, VMM_STATE) || (program && str_starts(below, program));
	}
	return r;
}

/* A file that another process replaces or removes is listed, and gone at the next look. */
static bool is_gone(int dir_fd, const char *name)
{
	struct stat st;
	return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
}

bool instance_folder_is_own(int dir_fd)
{
	struct stat st;

	if (!lock_is_own_at(dir_fd, INSTANCE_LOCK_NAME))
		return false;
	return is_kind(dir_fd, RECORD_NAME, S_IFREG) ||
	       (fstatat(dir_fd, INSTANCE_LOCK_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		st.st_size > 0);
}

bool instance_folder_has_moved(int dir_fd, const struct record *r)
{
	struct stat st;
	return r->folder_inode && (fstat(dir_fd, &st) < 0 || st.st_ino != r->folder_inode);
}

bool instance_folder_is_copy(int dir_fd, const char *name, const struct record *r)
{
	return !str_eq(r->name, name) &&
	       (instance_folder_has_moved(dir_fd, r) ||
		(r->purpose != RECORD_FOR_POOL && !str_eq(r->former_name, name)));
}

int instance_folder_is_pure(int dir_fd, bool begun, char **ret_foreign)
{
	AUTO_DONE(strv) names = { 0 };
	int r = dir_list(dir_fd, &names);

	r = r == 0 ? 1 : r;
	for (size_t i = 0; r == 1 && i < names.n; i++) {
		const char *name = names.v[i];
		if (is_first(dir_fd, name))
			continue;
		r = begun && name_is_unique(name, VMM_FOLDER)
			    ? is_vmms(dir_fd, name, NULL, VMM_DEPTH_MAX)
			    : (begun && is_later(dir_fd, name)) || is_gone(dir_fd, name);
		if (r == 0 && ret_foreign)
			*ret_foreign = strdup(name); /* NULL when out of memory */
	}
	return r;
}
