/* SPDX-License-Identifier: Apache-2.0 */
#include "mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "agent.h"
#include "attributes.h"
#include "base/error.h"
#include "base/file.h"
#include "disks.h"
#include "folders.h"

#define LOWER	 "/mvm-lower"
#define WRITABLE "/mvm-writable"
#define UPPER	 WRITABLE "/upper"
#define NEW_ROOT "/mvm-root"

/* After an error, read-only is better than wrong data, also when only a file's data could not be
 * written.  Blocks of removed files go back to the host. */
#define WRITABLE_DISK "errors=remount-ro,data_err=abort,discard"

struct mount_point {
	const char *source, *folder, *fstype;
	unsigned long flags;
	const char *options;
	bool optional;
};

static int make_dir(const char *folder, mode_t mode)
{
	return mkdir(folder, mode) < 0 && errno != EEXIST ? -errno : 0;
}

static int mount_all(const struct mount_point *points, size_t n, struct mvm_error *err)
{
	for (size_t i = 0; i < n; i++) {
		const struct mount_point *m = &points[i];
		int r = folders_make(m->folder);
		if (r == 0 && mount(m->source, m->folder, m->fstype, m->flags, m->options) < 0)
			r = -errno;
		if (r == -EBUSY)
			continue; /* the kernel has mounted devtmpfs already */
		if (r < 0 && m->optional)
			agent_log("cannot mount %s: %s", m->folder, strerror(-r));
		else if (r < 0)
			return mvm_error_set(err, r, "cannot mount '%s' on '%s': %s", m->source,
					     m->folder, strerror(-r));
	}
	return 0;
}

int mounts_kernel(struct mvm_error *err)
{
	static const unsigned long plain = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	const struct mount_point points[] = {
		{ "devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755", false },
		{ "proc", "/proc", "proc", plain, NULL, false },
		{ "sysfs", "/sys", "sysfs", plain, NULL, false },
		{ "cgroup2", "/sys/fs/cgroup", "cgroup2", plain, NULL, true },
	};
	return mount_all(points, MVM_ARRAY_SIZE(points), err);
}

static int copy_root_attributes(void)
{
	AUTO_CLOSE int from = open(LOWER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_CLOSE int to = open(UPPER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return from < 0 || to < 0 ? -errno : attributes_copy(from, to);
}

/* Hide the lost+found that mkfs makes: a program that wants an empty folder would refuse one that
 * has it.  The overlay hides the name; e2fsck still finds the folder on the disk. */
static int hide_lost_found(void)
{
	struct stat st;
	AUTO_DONE(strv) names = { 0 };
	AUTO_CLOSE int fd = open(LOWER "/lost+found",
				 O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_uid != 0 || (st.st_mode & 07777) != 0700 ||
	    dir_list(fd, &names) < 0 || names.n > 0)
		return 0; /* missing, or the image's own */
	if (mknod(UPPER "/lost+found", S_IFCHR, makedev(0, 0)) < 0 && errno != EEXIST)
		return -errno;
	return 0;
}

/* A disk that an earlier VM of this instance has written to has both folders, and "/" may have been
 * given another mode. */
static int make_upper(void)
{
	if (access(WRITABLE "/work", F_OK) == 0)
		return 0;
	int r = make_dir(UPPER, 0755);
	if (r == 0)
		r = hide_lost_found();
	if (r == 0) /* "/" is the upper folder, and must have the image's owner and mode */
		r = copy_root_attributes();
	return r < 0 ? r : make_dir(WRITABLE "/work", 0755);
}

static int mount_overlay(const char *device, const char *fstype, const char *upper,
			 int *ret_image_fd, struct mvm_error *err)
{
	const struct mount_point below[] = {
		{ device, LOWER, fstype, MS_RDONLY, NULL, false },
		{ "tmpfs", WRITABLE, "tmpfs", 0, "mode=0755", false },
	};
	const struct mount_point on_disk[] = {
		below[0],
		{ upper, WRITABLE, "ext4", MS_NOATIME, WRITABLE_DISK, false },
	};
	int r = mount_all(upper ? on_disk : below, MVM_ARRAY_SIZE(below), err);
	if (r < 0)
		return r;
	if (upper)
		disks_reset_volumes(WRITABLE, UPPER);
	r = make_upper();
	if (r < 0)
		return mvm_error_set(err, r, "cannot make the overlay: %s", strerror(-r));
	const struct mount_point overlay = {
		"overlay",
		NEW_ROOT,
		"overlay",
		0,
		"lowerdir=" LOWER ",upperdir=" UPPER ",workdir=" WRITABLE "/work",
		false,
	};
	r = mount_all(&overlay, 1, err);
	if (r == 0) /* -1 only costs the commits */
		*ret_image_fd = open(LOWER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return r;
}

/* Free the memory of the agent's file and of the modules, which are not needed any more. */
static void empty_initramfs(void)
{
	tree_remove_at(AT_FDCWD, "/lib"); /* if this fails, it only wastes memory */
	unlink("/init");		  /* likewise */
}

/* Enter the new root without the early mounts; mount_root() mounts them again.  Moving them would
 * not work if the image has a link there, such as /dev -> /srv/dev: outside the new root the link
 * leads to another place. */
static int enter_root(void)
{
	static const char *const early[] = { "/sys", "/proc", "/dev" };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(early); i++)
		umount2(early[i], MNT_DETACH); /* a mount that stays is out of sight */
	if (chdir(NEW_ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
	    chdir("/") < 0)
		return -errno;
	return 0;
}

static int mount_root(struct mvm_error *err)
{
	static const unsigned long plain = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	const struct mount_point late[] = {
		{ "devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
		  "mode=0620,gid=5,ptmxmode=0666", true },
		{ "tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777", true },
		{ "mqueue", "/dev/mqueue", "mqueue", plain, NULL, true },
	};
	int r = mounts_kernel(err);
	return r < 0 ? r : mount_all(late, MVM_ARRAY_SIZE(late), err);
}

/*
 * Make the links that programs expect in /dev.  devtmpfs makes the devices, with the right modes,
 * but not the links.
 *
 * Source: OCI runtime-spec, config-linux.md "Default Devices", runtime-linux.md "Dev symbolic
 * links".
 */
static void link_devices(void)
{
	static const struct {
		const char *target, *path;
	} links[] = {
		{ "/proc/self/fd", "/dev/fd" },	      { "/proc/self/fd/0", "/dev/stdin" },
		{ "/proc/self/fd/1", "/dev/stdout" }, { "/proc/self/fd/2", "/dev/stderr" },
		{ "/proc/kcore", "/dev/core" },	      { "pts/ptmx", "/dev/ptmx" },
	};
	/* Everybody may write there, as on a terminal with `mesg y`: on_restore of an image with a
	 * user has it as its output, and opens /dev/stdout. */
	chmod("/dev/console", 0622);
	unlink("/dev/ptmx"); /* a link replaces the kernel's device */
	for (size_t i = 0; i < MVM_ARRAY_SIZE(links); i++) {
		if (symlink(links[i].target, links[i].path) < 0 && errno != EEXIST)
			agent_log("cannot make the link %s: %s", links[i].path, strerror(errno));
	}
}

int mounts_switch_root(const char *device, const char *fstype, const char *upper, int *ret_image_fd,
		       int *ret_upper, struct mvm_error *err)
{
	int r = mount_overlay(device, fstype, upper, ret_image_fd, err);
	if (r < 0)
		return r;
	int upper_fd = upper ? open(WRITABLE, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (upper && upper_fd < 0)
		return mvm_error_set(err, -errno, "cannot open '%s': %s", WRITABLE,
				     strerror(errno));
	if (upper)
		*ret_upper = upper_fd;
	empty_initramfs();
	r = enter_root();
	if (r < 0)
		return mvm_error_set(err, r, "cannot enter the root: %s", strerror(-r));
	r = mount_root(err);
	if (r < 0)
		return r;
	link_devices();
	if (symlink("/proc/self/mounts", "/etc/mtab") < 0 && errno != EEXIST && errno != ENOENT)
		agent_log("cannot make the link /etc/mtab: %s", strerror(errno));
	/* set the mode past the umask, and on the image's own /tmp: git cannot store this mode */
	r = folders_make("/tmp");
	if (r < 0 || chmod("/tmp", 01777) < 0)
		agent_log("cannot let everybody write to '/tmp': %s", strerror(r < 0 ? -r : errno));
	return 0;
}

int mounts_run(bool for_init, struct mvm_error *err)
{
	const struct mount_point run = {
		"tmpfs", for_init ? "/run" : "/run/mvm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755",
		false,
	};
	return mount_all(&run, 1, err);
}

/* Is the disk as mkfs left it?  After a restart, the VM has written to it. */
static bool is_empty_disk(int fd)
{
	AUTO_DONE(strv) names = { 0 };
	return dir_list(fd, &names) == 0 && names.n == strv_has(&names, "lost+found");
}

int mounts_data(const char *device, struct mvm_error *err)
{
	/* after an error, read-only is better than wrong data; access times would cost writes */
	const struct mount_point data = {
		device, "/data", "ext4", MS_NOSUID | MS_NODEV | MS_NOATIME, "errors=remount-ro",
		false,
	};
	AUTO_CLOSE int below = open(data.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = mount_all(&data, 1, err);
	if (r < 0)
		return r;
	AUTO_CLOSE int disk = open(data.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (disk >= 0 && is_empty_disk(disk)) {
		/* a database needs an empty folder, and e2fsck makes a new lost+found */
		unlinkat(disk, "lost+found", AT_REMOVEDIR);
		r = below < 0 ? 0 : attributes_copy(below, disk); /* the image may have none */
	}
	r = disk < 0 ? -errno : r;
	return r < 0 ? mvm_error_set(err, r, "cannot give '%s' its owner and mode: %s", data.folder,
				     strerror(-r))
		     : 0;
}

void mounts_make_read_only(const char *folder)
{
	mount(NULL, folder, NULL, MS_REMOUNT | MS_RDONLY, NULL); /* EBUSY: still written to */
}
