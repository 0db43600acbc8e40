/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What QEMU may open, use up and ask of the kernel, from before it is QEMU: Landlock, limits and a
 * list of system calls.  QEMU's own -sandbox comes on top of that, and takes away the right to
 * execute.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/landlock.h"
#include "vmm/qemu/qemu.h"
#include "vmm/qemu/syscalls_x86_64.h"
#include "vmm/syscalls.h"

#define FILES_MAX	  256u	/* descriptors, without a network */
#define FILES_NETWORK_MAX 4096u /* each connection of the guest's takes one */
#define THREADS_MAX	  128u	/* beside the virtual CPUs': 64 for each kind of file */
#define SIGNALS_MAX	  64u

unsigned qemu_walls(void)
{
	return VMM_ISOLATION_SYSCALLS | (landlock_version() > 0 ? VMM_ISOLATION_LANDLOCK : 0);
}

/* ---- files ---- */

/* Where programs and libraries are, of whatever distribution, and nothing of any user's. */
static const char *const system_folders[] = {
	"/usr",
	"/lib",
	"/lib32",
	"/lib64",
	"/bin",
	"/nix/store",
	"/gnu/store",
	"/etc/ld.so.cache",
	"/etc/ld.so.preload",
	"/sys/devices/system",
};

static const char *const own_folders[] = { "lib", "lib64", "libexec", "share" };

static int allow_program(int rules_fd, const struct qemu_child *child)
{
	char path[4096];
	int r = landlock_allow(rules_fd, AT_FDCWD, child->binary, LANDLOCK_RUN);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(system_folders) && r == 0; i++)
		r = landlock_allow(rules_fd, AT_FDCWD, system_folders[i], LANDLOCK_RUN);
	if (str_eq(child->prefix, "/usr") || str_eq(child->prefix, ""))
		return r;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(own_folders) && r == 0; i++) {
		snprintf(path, sizeof(path), "%s/%s", child->prefix, own_folders[i]);
		r = landlock_allow(rules_fd, AT_FDCWD, path, LANDLOCK_RUN);
	}
	return r;
}

static int allow_devices(int rules_fd, const struct qemu_child *child)
{
	int r = landlock_allow(rules_fd, AT_FDCWD, "/dev/null", LANDLOCK_WRITE);
	if (r == 0)
		r = landlock_allow(rules_fd, AT_FDCWD, "/dev/urandom", LANDLOCK_READ);
	if (r == 0 && child->kvm)
		r = landlock_allow(rules_fd, AT_FDCWD, "/dev/kvm", LANDLOCK_WRITE);
	if (r == 0 && child->network)
		r = landlock_allow(rules_fd, AT_FDCWD, "/etc/resolv.conf", LANDLOCK_READ);
	if (r == 0 && child->network && child->box.root_fd >= 0)
		r = landlock_allow(rules_fd, child->box.root_fd, "etc/resolv.conf", LANDLOCK_READ);
	return r;
}

/* The files that it was given to open again; the descriptors are at their numbers by now. */
static int allow_files(int rules_fd, const struct qemu_child *child)
{
	int r = 0;
	for (int fd = QEMU_FD_MEMORY; fd < QEMU_FD_END && r == 0; fd++) {
		bool writes = fd >= QEMU_FD_DRIVES || (fd == QEMU_FD_MEMORY && child->captures);
		if (fcntl(fd, F_GETFD) >= 0)
			r = landlock_allow(rules_fd, fd, "",
					   writes ? LANDLOCK_WRITE : LANDLOCK_READ);
	}
	return r;
}

static int limit_files(const struct qemu_child *child)
{
	AUTO_CLOSE int low_fd = landlock_open(child->network);
	if (low_fd < 0)
		return low_fd;
	/* or it would pass for one of the files */
	AUTO_CLOSE int rules_fd = fcntl(low_fd, F_DUPFD_CLOEXEC, QEMU_FD_END);
	if (rules_fd < 0)
		return -errno;
	close(TAKE_FD(low_fd));
	int r = allow_program(rules_fd, child);
	if (r == 0)
		r = allow_devices(rules_fd, child);
	if (r == 0)
		r = allow_files(rules_fd, child);
	return r < 0 ? r : landlock_enter(rules_fd);
}

/* ---- resources ---- */

/* Never more than there was. */
static int limit(int what, uint64_t most)
{
	struct rlimit now;
	if (getrlimit((__rlimit_resource_t)what, &now) < 0)
		return -errno;
	if (now.rlim_max > most)
		now.rlim_max = most;
	now.rlim_cur = now.rlim_max;
	return setrlimit((__rlimit_resource_t)what, &now) < 0 ? -errno : 0;
}

/* Are a user's processes counted for each user namespace?  Since Linux 5.14, as memfd_secret(2) is
 * there. */
static bool namespaces_count(void)
{
	return syscall(SYS_memfd_secret, ~0u) < 0 && errno == EINVAL;
}

static int limit_resources(const struct qemu_child *child)
{
	bool counted = child->user.fd >= 0 ||
		       ((child->isolation & VMM_ISOLATION_NAMESPACES) && namespaces_count());
	const struct {
		int what;
		uint64_t most;
	} limits[] = {
		{ RLIMIT_CORE, 0 },
		{ RLIMIT_MEMLOCK, 0 },
		{ RLIMIT_MSGQUEUE, 0 },
		{ RLIMIT_RTPRIO, 0 },
		{ RLIMIT_NICE, 0 },
		{ RLIMIT_SIGPENDING, SIGNALS_MAX },
		{ RLIMIT_NOFILE, child->network ? FILES_NETWORK_MAX : FILES_MAX },
		{ RLIMIT_FSIZE, child->file_max_bytes },
		{ RLIMIT_NPROC, counted ? THREADS_MAX + child->vcpus : RLIM_INFINITY },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(limits); i++) {
		int r = limit(limits[i].what, limits[i].most);
		if (r < 0)
			return r;
	}
	return 0;
}

int qemu_walls_enter(void *arg)
{
	const struct qemu_child *child = arg;
	bool walls = child->isolation & VMM_ISOLATION_SYSCALLS;
	int r = 0;
	if (child->isolation & VMM_ISOLATION_LANDLOCK)
		r = limit_files(child);
	if (r == 0 && walls)
		r = limit_resources(child);
	if (r == 0 && child->memory) {
		r = lend_in_child(child->lend_fd);
		if (r == 0 && child->user.fd >= 0)
			r = -EOPNOTSUPP; /* that user could not open it */
	}
	if (r < 0 || !walls)
		return r < 0 ? r : 0;
	return syscalls_enter(qemu_syscalls, MVM_ARRAY_SIZE(qemu_syscalls),
			      (child->network ? SYSCALLS_NETWORK : 0) |
				      (child->kvm ? SYSCALLS_KVM : 0));
}
