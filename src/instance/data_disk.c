/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/data_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

int data_disk_copy(int from_fd, int instance_fd, struct mvm_error *err)
{
	AUTO_CLOSE int to_fd = openat(instance_fd, DATA_DISK_NAME,
				      O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r = to_fd < 0 ? -errno : file_copy_fd(from_fd, to_fd);
	return r < 0 ? mvm_error_set(err, r, "cannot copy the data disk: %s", strerror(-r)) : r;
}

int data_disk_capture(int instance_fd, int snapshot_fd, struct mvm_error *err)
{
	AUTO_CLOSE int from_fd = openat(instance_fd, DATA_DISK_NAME,
					O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	AUTO_CLOSE int to_fd = openat(snapshot_fd, DATA_DISK_NAME,
				      O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r = from_fd < 0 || to_fd < 0 ? -errno : file_copy_fd(from_fd, to_fd);
	if (r >= 0 && (fchmod(to_fd, 0444) < 0 || fsync(to_fd) < 0))
		r = -errno;
	return r < 0 ? mvm_error_set(err, r, "cannot capture the data disk: %s", strerror(-r)) : 0;
}
