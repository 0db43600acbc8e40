/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/own_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#define PART_BYTES ((off_t)32 << 20)

const struct own_disk_kind own_disks[OWN_DISKS] = {
	[OWN_DISK_DATA] = { "data.ext4", "snapshot/data.ext4", "data", "data disk", "mvm.data" },
	[OWN_DISK_ROOT] = { "root.ext4", "snapshot/root.ext4", "root", "root disk", "mvm.upper" },
};

void own_disks_attach(const uint32_t mib[OWN_DISKS], struct vmm_config *c)
{
	_Static_assert(OWN_DISKS < MVM_ARRAY_SIZE(c->drives), "one is the root image");
	for (size_t i = 0; i < OWN_DISKS; i++) {
		if (mib[i])
			c->drives[c->n_drives++] = (struct vmm_drive){
				.name = own_disks[i].file,
				.own = true,
				.option = own_disks[i].option,
			};
	}
}

static int open_new(int dir_fd, const char *file)
{
	int fd = openat(dir_fd, file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd < 0 ? -errno : fd;
}

int own_disk_copy(enum own_disk disk, int from_fd, int instance_fd, struct mvm_error *err)
{
	AUTO_CLOSE int to_fd = open_new(instance_fd, own_disks[disk].file);
	int r = to_fd < 0 ? to_fd : file_copy_fd(from_fd, to_fd);
	return r < 0 ? mvm_error_set(err, r, "cannot copy the %s: %s", own_disks[disk].what,
				     strerror(-r))
		     : r;
}

static void close_copies(struct own_disks_copying *c)
{
	auto_close(&c->from_fd);
	auto_close(&c->to_fd);
	c->from_fd = c->to_fd = -1;
	c->file = (struct file_copying){ 0 };
}

void own_disks_copying_done(struct own_disks_copying *c)
{
	close_copies(c);
	c->disk = 0;
}

static int open_copies(struct own_disks_copying *c, int from_dir_fd, int to_dir_fd)
{
	const char *file = own_disks[c->disk].file;
	c->from_fd = openat(from_dir_fd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (c->from_fd < 0)
		return -errno;
	c->to_fd = open_new(to_dir_fd, file);
	return c->to_fd < 0 ? c->to_fd : 0;
}

int own_disks_copy_some(struct own_disks_copying *c, const bool has[OWN_DISKS], int from_dir_fd,
			int to_dir_fd, struct mvm_error *err)
{
	for (; c->disk < OWN_DISKS; c->disk++) {
		int r = 0;
		if (!has[c->disk])
			continue;
		if (c->to_fd < 0)
			r = open_copies(c, from_dir_fd, to_dir_fd);
		if (r == 0)
			r = file_copy_some(&c->file, c->from_fd, c->to_fd, PART_BYTES);
		if (r < 0)
			return mvm_error_set(err, r, "cannot copy the %s: %s",
					     own_disks[c->disk].what, strerror(-r));
		if (r > 0)
			return 1;
		close_copies(c);
	}
	return 0;
}

int own_disk_capture(enum own_disk disk, int instance_fd, int snapshot_fd, struct mvm_error *err)
{
	const char *file = own_disks[disk].file;
	AUTO_CLOSE int from_fd = openat(instance_fd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	AUTO_CLOSE int to_fd = openat(snapshot_fd, file,
				      O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r = from_fd < 0 || to_fd < 0 ? -errno : file_copy_fd(from_fd, to_fd);
	if (r >= 0 && (fchmod(to_fd, 0444) < 0 || fsync(to_fd) < 0))
		r = -errno;
	return r < 0 ? mvm_error_set(err, r, "cannot capture the %s: %s", own_disks[disk].what,
				     strerror(-r))
		     : 0;
}
