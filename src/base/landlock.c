/* SPDX-License-Identifier: Apache-2.0 */
#include "base/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/own.h"

/* newer than Debian 12's headers */
#define FS_REFER     (UINT64_C(1) << 13)
#define FS_TRUNCATE  (UINT64_C(1) << 14)
#define FS_IOCTL_DEV (UINT64_C(1) << 15)
#define NET_TCP	     UINT64_C(3) /* bind, connect */
#define SCOPE_ALL    UINT64_C(3) /* abstract sockets, signals */

struct rules {
	uint64_t fs, net, scope;
};

int landlock_version(void)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0,
			       LANDLOCK_CREATE_RULESET_VERSION);
	return version < 0 ? 0 : (int)version;
}

/* All rights that this version can refuse.  Returns how much of the struct the version knows. */
static size_t everything(int version, struct rules *ret)
{
	*ret = (struct rules){ .fs = FS_REFER - 1 }; /* thirteen rights from the first version on */
	if (version >= 2)
		ret->fs |= FS_REFER;
	if (version >= 3)
		ret->fs |= FS_TRUNCATE;
	if (version >= 5)
		ret->fs |= FS_IOCTL_DEV;
	if (version >= 4)
		ret->net = NET_TCP;
	if (version >= 6)
		ret->scope = SCOPE_ALL;
	if (version >= 6)
		return sizeof(*ret);
	return version >= 4 ? offsetof(struct rules, scope) : offsetof(struct rules, net);
}

int landlock_open(bool network)
{
	struct rules rules;
	int version = landlock_version();
	if (version == 0)
		return -EOPNOTSUPP;
	size_t size = everything(version, &rules);
	if (network)
		rules.net = 0;
	long fd = syscall(SYS_landlock_create_ruleset, &rules, size, 0);
	return fd < 0 ? -errno : (int)fd; /* close-on-exec */
}

static uint64_t rights(enum landlock_access access, bool is_dir)
{
	struct rules known;
	uint64_t read = LANDLOCK_ACCESS_FS_READ_FILE, write = LANDLOCK_ACCESS_FS_WRITE_FILE;
	everything(landlock_version(), &known);
	if (access == LANDLOCK_RUN)
		return read | LANDLOCK_ACCESS_FS_EXECUTE |
		       (is_dir ? LANDLOCK_ACCESS_FS_READ_DIR : 0);
	if (access == LANDLOCK_READ)
		return read;
	if (access == LANDLOCK_LOOK)
		return read | (is_dir ? LANDLOCK_ACCESS_FS_READ_DIR : 0);
	if (access == LANDLOCK_LISTEN)
		return LANDLOCK_ACCESS_FS_MAKE_SOCK;
	if (access == LANDLOCK_FILL)
		return read | write | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR |
		       LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |
		       LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SYM |
		       (known.fs & (FS_REFER | FS_TRUNCATE));
	return read | write | (known.fs & (FS_TRUNCATE | FS_IOCTL_DEV));
}

int landlock_allow(int rules_fd, int dir_fd, const char *path, enum landlock_access access)
{
	struct stat st;
	AUTO_CLOSE int own_fd = *path ? openat(dir_fd, path, O_PATH | O_CLOEXEC) : -1;
	int fd = *path ? own_fd : dir_fd;
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == EACCES ? 0 : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	const struct landlock_path_beneath_attr rule = {
		.allowed_access = rights(access, S_ISDIR(st.st_mode)),
		.parent_fd = fd,
	};
	return syscall(SYS_landlock_add_rule, rules_fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0
		       ? -errno
		       : 0;
}

int landlock_enter(int rules_fd)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    syscall(SYS_landlock_restrict_self, rules_fd, 0) < 0)
		return -errno;
	return 0;
}
