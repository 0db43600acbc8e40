/* SPDX-License-Identifier: Apache-2.0 */
/* Tells the files that mvm puts into an instance's folder from foreign files. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/lock.h"
#include "instance/folder.h"
#include "instance/instance.h"
#include "instance/logfile.h"
#include "instance/own_disk.h"
#include "instance/saved.h"

#define VMM_FOLDER    "firecracker-"
#define VMM_STATE     "vmstate.bin"
#define VMM_DEPTH_MAX 8 /* a jail is three folders deep, and has /dev/net in it */

/*
 * Is this one of the first files of a folder, or one that may come until it is removed?  The order
 * of the first files: lock, socket, record.  A start that takes a VM of a pool, or a rename, puts
 * its own file into the folder, however soon the VM ends.
 */
static bool is_first(const char *name, mode_t kind)
{
	if (str_eq(name, INSTANCE_SOCKET_NAME))
		return kind == S_IFSOCK;
	/* "file.": a record that is being replaced */
	return kind == S_IFREG &&
	       (str_eq(name, INSTANCE_LOCK_NAME) || str_eq(name, RECORD_NAME) ||
		str_eq(name, INSTANCE_WANTED_NAME) || str_eq(name, INSTANCE_RENAME_NAME) ||
		name_is_unique(name, "file."));
}

static bool is_later(const char *name, mode_t kind)
{
	/* mem.bin: with --private-memory, until the VMM has mapped it */
	static const char *const names[] = {
		"supervisor.log",
		"mem.bin",
		CONSOLE_LOG_NAME,
		WORKLOAD_LOG_NAME,
		CONSOLE_LOG_NAME LOGFILE_OLD_SUFFIX,
		WORKLOAD_LOG_NAME LOGFILE_OLD_SUFFIX,
	};

	for (size_t i = 0; i < MVM_ARRAY_SIZE(names); i++) {
		if (str_eq(name, names[i]))
			return kind == S_IFREG;
	}
	for (size_t i = 0; i < OWN_DISKS; i++) {
		if (str_eq(name, own_disks[i].file))
			return kind == S_IFREG;
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

bool instance_folder_is_own(int dir_fd)
{
	struct stat st;

	if (!lock_is_own_at(dir_fd, INSTANCE_LOCK_NAME))
		return false;
	if (fstatat(dir_fd, RECORD_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
		return true;
	return fstatat(dir_fd, INSTANCE_LOCK_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size > 0;
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

static int is_own_file(int dir_fd, const char *name, bool begun)
{
	struct stat st;
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 1 : -errno; /* listed, and replaced or removed since */
	if (is_first(name, st.st_mode & S_IFMT))
		return 1;
	if (begun && name_is_unique(name, VMM_FOLDER))
		return is_vmms(dir_fd, name, NULL, VMM_DEPTH_MAX);
	return begun && (is_later(name, st.st_mode & S_IFMT) || saved_is_own(dir_fd, name));
}

int instance_folder_is_pure(int dir_fd, bool begun, char **ret_foreign)
{
	AUTO_DONE(strv) names = { 0 };
	int r = dir_list(dir_fd, &names);

	r = r == 0 ? 1 : r;
	for (size_t i = 0; r == 1 && i < names.n; i++) {
		r = is_own_file(dir_fd, names.v[i], begun);
		if (r == 0 && ret_foreign)
			*ret_foreign = strdup(names.v[i]); /* NULL when out of memory */
	}
	return r;
}
