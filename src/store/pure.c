/* SPDX-License-Identifier: Apache-2.0 */
/* What belongs to a revision, and what somebody else has put into its folder. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/file.h"
#include "store/revision.h"

static bool is_kind(int dir_fd, const char *name, mode_t kind)
{
	struct stat st;
	return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       (st.st_mode & S_IFMT) == kind;
}

/* What mvm makes; "snapshot/" before those of a snapshot. */
static bool is_usual(const char *path)
{
	static const char *const usual[] = {
		"vmlinux",	    "rootfs.ext4",	  "initrd",
		"data.ext4",	    "fc-base.json",	  "snapshot/vmstate.bin",
		"snapshot/mem.bin", "snapshot/data.ext4", "snapshot/working-set.bin",
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(usual); i++) {
		if (str_eq(path, usual[i]))
			return true;
	}
	return false;
}

/* store_revision_files() lists files only, and an empty folder is foreign as well. */
static int has_foreign_folder(int dir_fd)
{
	AUTO_DONE(strv) names = { 0 };
	int r = dir_list(dir_fd, &names);
	for (size_t i = 0; r == 0 && i < names.n; i++)
		r = !str_eq(names.v[i], "snapshot") && is_kind(dir_fd, names.v[i], S_IFDIR);
	return r;
}

int store_revision_is_pure(int dir_fd)
{
	AUTO_DONE(checksums) sums = { 0 };
	AUTO_DONE(strv) paths = { 0 };

	if (!is_kind(dir_fd, "revision.json", S_IFREG) &&
	    !is_kind(dir_fd, "checksums.json", S_IFREG))
		return 0;
	int r = has_foreign_folder(dir_fd);
	if (r == 0)
		r = store_revision_files(dir_fd, &paths);
	if (r != 0)
		return r < 0 ? r : 0;
	int listed = store_checksums_read(dir_fd, &sums, NULL);
	if (listed == -ENOMEM)
		return listed;
	for (size_t i = 0; i < paths.n; i++) {
		if (listed < 0 ? !is_usual(paths.v[i]) : !checksums_find(&sums, paths.v[i]))
			return 0;
	}
	return 1;
}
