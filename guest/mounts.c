/* SPDX-License-Identifier: Apache-2.0 */
#include "mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"
#include "base/error.h"
#include "base/file.h"

#define LOWER	 "/mvm-lower"
#define WRITABLE "/mvm-writable"
#define NEW_ROOT "/mvm-root"

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
		int r = make_dir(m->folder, 0755);
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

int mounts_early(struct mvm_error *err)
{
	static const unsigned long plain = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	const struct mount_point points[] = {
		{ "devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755", false },
		{ "proc", "/proc", "proc", plain, NULL, false },
		{ "sysfs", "/sys", "sysfs", plain, NULL, false },
		{ "tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755", false },
		{ "cgroup2", "/sys/fs/cgroup", "cgroup2", plain, NULL, true },
	};
	return mount_all(points, MVM_ARRAY_SIZE(points), err);
}

static int mount_overlay(const char *device, const char *fstype, struct mvm_error *err)
{
	const struct mount_point below[] = {
		{ device, LOWER, fstype, MS_RDONLY, NULL, false },
		{ "tmpfs", WRITABLE, "tmpfs", 0, "mode=0755", false },
	};
	int r = mount_all(below, MVM_ARRAY_SIZE(below), err);
	if (r < 0)
		return r;
	if (make_dir(WRITABLE "/upper", 0755) < 0 || make_dir(WRITABLE "/work", 0755) < 0)
		return mvm_error_set(err, -errno, "cannot make the overlay: %s", strerror(errno));
	const struct mount_point overlay = {
		"overlay",
		NEW_ROOT,
		"overlay",
		0,
		"lowerdir=" LOWER ",upperdir=" WRITABLE "/upper,workdir=" WRITABLE "/work",
		false,
	};
	return mount_all(&overlay, 1, err);
}

/* The image may be as bare as a busybox folder. */
static int move_mounts(struct mvm_error *err)
{
	static const char *const names[] = { "/proc", "/sys", "/dev", "/run" };
	char to[64];
	for (size_t i = 0; i < MVM_ARRAY_SIZE(names); i++) {
		(void)snprintf(to, sizeof(to), NEW_ROOT "%s", names[i]);
		int r = make_dir(to, 0755);
		if (r == 0 && mount(names[i], to, NULL, MS_MOVE, NULL) < 0)
			r = -errno;
		if (r < 0)
			return mvm_error_set(err, r, "cannot move '%s' to the root: %s", names[i],
					     strerror(-r));
	}
	return 0;
}

/* The agent's own file and the modules are memory that nobody needs any more. */
static void empty_initramfs(void)
{
	(void)tree_remove_at(AT_FDCWD, "/lib"); /* it only wastes memory */
	(void)unlink("/init");			/* as above */
}

static int enter_root(void)
{
	if (chdir(NEW_ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
	    chdir("/") < 0)
		return -errno;
	return 0;
}

int mounts_switch_root(const char *device, const char *fstype, struct mvm_error *err)
{
	const struct mount_point late[] = {
		{ "devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
		  "mode=0620,gid=5,ptmxmode=0666", true },
		{ "tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777", true },
	};
	int r = mount_overlay(device, fstype, err);
	if (r < 0)
		return r;
	empty_initramfs();
	r = move_mounts(err);
	if (r < 0)
		return r;
	r = enter_root();
	if (r < 0)
		return mvm_error_set(err, r, "cannot enter the root: %s", strerror(-r));
	/* past the umask; and an image's own, since a folder that git keeps has no such mode */
	if (make_dir("/tmp", 01777) == 0)
		(void)chmod("/tmp", 01777);
	return mount_all(late, MVM_ARRAY_SIZE(late), err);
}

int mounts_data(const char *device, struct mvm_error *err)
{
	/* after an error it is read-only rather than wrong; nobody needs to wait for access times
	 */
	const struct mount_point data = {
		device, "/data", "ext4", MS_NOSUID | MS_NODEV | MS_NOATIME, "errors=remount-ro",
		false,
	};
	return mount_all(&data, 1, err);
}

void mounts_make_read_only(const char *folder)
{
	(void)mount(NULL, folder, NULL, MS_REMOUNT | MS_RDONLY, NULL); /* EBUSY: being written */
}
