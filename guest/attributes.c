/* SPDX-License-Identifier: Apache-2.0 */
#include "attributes.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "base/own.h"
#include "base/str.h"

#define XATTRS_MAX                                                                                 \
	65536 /* for the list of names and for each value (XATTR_LIST_MAX, XATTR_SIZE_MAX) */

static int copy_xattrs(int from_fd, int to_fd)
{
	AUTO_FREE char *names = malloc(XATTRS_MAX);
	AUTO_FREE char *value = malloc(XATTRS_MAX);
	if (!names || !value)
		return -ENOMEM;
	ssize_t len = flistxattr(from_fd, names, XATTRS_MAX);
	if (len < 0)
		return errno == EOPNOTSUPP ? 0 : -errno;
	for (const char *name = names; name < names + len; name += strlen(name) + 1) {
		if (str_starts(name, "trusted.overlay."))
			continue;
		ssize_t size = fgetxattr(from_fd, name, value, XATTRS_MAX);
		if (size < 0)
			return -errno;
		if (fsetxattr(to_fd, name, value, (size_t)size, 0) < 0 && errno != EOPNOTSUPP)
			return -errno;
	}
	return 0;
}

int attributes_copy(int from_fd, int to_fd)
{
	struct stat st;
	if (fstat(from_fd, &st) < 0 || fchown(to_fd, st.st_uid, st.st_gid) < 0)
		return -errno;
	int r = copy_xattrs(from_fd, to_fd);
	if (r < 0)
		return r;
	/* the mode after the ACLs, which change it; the times last, since each change sets them */
	const struct timespec times[] = { st.st_atim, st.st_mtim };
	return fchmod(to_fd, st.st_mode & 07777) < 0 || futimens(to_fd, times) < 0 ? -errno : 0;
}
