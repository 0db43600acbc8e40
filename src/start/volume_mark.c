/* SPDX-License-Identifier: Apache-2.0 */
#include "start/volume_mark.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct mark_name {
	char text[NAME_MAX + 1];
};

static struct mark_name name_of(const char *name)
{
	struct mark_name mark;
	snprintf(mark.text, sizeof(mark.text), ".%s", name);
	return mark;
}

void volume_mark(int volumes_fd, const char *name)
{
	int fd = openat(volumes_fd, name_of(name).text, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
			0600);
	if (fd >= 0)
		close(fd);
}

bool volume_is_marked(int volumes_fd, const char *name)
{
	struct stat st;
	return fstatat(volumes_fd, name_of(name).text, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISREG(st.st_mode);
}

void volume_unmark(int volumes_fd, const char *name)
{
	if (volume_is_marked(volumes_fd, name))
		unlinkat(volumes_fd, name_of(name).text, 0); /* a mark alone does no harm */
}
