/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/watch.h"

#include <errno.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"

int watch_folder(int dir_fd, struct mvm_error *err)
{
	char path[FD_PATH_SIZE];
	AUTO_CLOSE int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	fd_path(dir_fd, path);
	if (fd >= 0 && inotify_add_watch(fd, path, IN_MODIFY | IN_CREATE | IN_MOVED_TO) >= 0)
		return TAKE_FD(fd);
	int r = mvm_error_set(err, -errno, "cannot watch the folder: %s", strerror(errno));
	if (r == -EMFILE)
		r = mvm_error_hint(err, r,
				   "allow this user more with 'sysctl "
				   "fs.inotify.max_user_instances=1024', or this process more "
				   "descriptors with 'ulimit -n'");
	return r;
}

bool watch_drain(int watch_fd)
{
	char events[4096];
	bool any = false;
	while (read(watch_fd, events, sizeof(events)) > 0)
		any = true; /* only whether there was one matters */
	return any;
}
