/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "instance/data_disk.h"
#include "instance/instance.h"
#include "instance/logfile.h"

static bool is_known(const char *name)
{
	/* mem.bin: --private-memory, until the VMM has mapped it */
	static const char *const names[] = {
		INSTANCE_LOCK_NAME, RECORD_NAME,       "control.sock",
		"supervisor.log",   CONSOLE_LOG_NAME,  CONSOLE_LOG_NAME LOGFILE_OLD_SUFFIX,
		"mem.bin",	    WORKLOAD_LOG_NAME, WORKLOAD_LOG_NAME LOGFILE_OLD_SUFFIX,
		DATA_DISK_NAME,
	};

	for (size_t i = 0; i < MVM_ARRAY_SIZE(names); i++) {
		if (str_eq(name, names[i]))
			return true;
	}
	/* records that are being replaced; Firecracker's working folder or jail */
	return name_is_unique(name, "file.") || name_is_unique(name, "firecracker-");
}

static bool has(int dir_fd, const char *name)
{
	struct stat st;
	return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
}

bool instance_folder_is_own(int dir_fd)
{
	AUTO_DONE(strv) names = { 0 };
	struct stat st;

	if (has(dir_fd, RECORD_NAME) || has(dir_fd, INSTANCE_LOCK_NAME))
		return true;
	return fstat(dir_fd, &st) == 0 && (st.st_mode & 0777) == 0700 &&
	       dir_list(dir_fd, &names) == 0 && names.n == 0;
}

int instance_folder_remove(int instances_fd, const char *name, int dir_fd, bool by_name)
{
	AUTO_DONE(strv) names = { 0 };

	if (!file_is_at(dir_fd, instances_fd, name))
		return -ENOENT;
	int r = dir_list(dir_fd, &names);
	for (size_t i = 0; r == 0 && !by_name && i < names.n; i++)
		r = is_known(names.v[i]) ? 0 : -ENOTEMPTY;
	for (size_t i = 0; r == 0 && i < names.n; i++) {
		if (!str_eq(names.v[i], INSTANCE_LOCK_NAME))
			r = tree_remove_at(dir_fd, names.v[i]);
	}
	return r < 0 ? r : tree_remove_at(instances_fd, name);
}
