/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/walls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/landlock.h"
#include "base/own.h"
#include "base/rlimit.h"
#include "base/str.h"
#include "base/syscalls.h"
#include "vmm/qemu/syscalls_x86_64.h"
#include "vmm/vmm.h"

#define ISOLATION_ENV "MVM_ISOLATION"

unsigned walls_there_are(void)
{
	return VMM_ISOLATION_SYSCALLS | (landlock_version() > 0 ? VMM_ISOLATION_LANDLOCK : 0);
}

bool walls_are_off(void)
{
	return str_eq(getenv(ISOLATION_ENV), "off");
}

/* ---- files ---- */

/* The folders of programs and libraries in any distribution.  No user's files are there. */
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

/* PREFIX/bin/program has its files in PREFIX/lib, PREFIX/share, ... */
static int allow_beside(int rules_fd, const char *binary)
{
	char prefix[4096], path[4096 + 16];
	int r = 0;
	if (strlen(binary) >= sizeof(prefix))
		return -ENAMETOOLONG;
	memcpy(prefix, binary, strlen(binary) + 1);
	for (int i = 0; i < 2; i++) {
		char *slash = strrchr(prefix, '/');
		if (slash)
			*slash = '\0';
	}
	if (str_eq(prefix, "/usr") || str_eq(prefix, ""))
		return 0;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(own_folders) && r == 0; i++) {
		snprintf(path, sizeof(path), "%s/%s", prefix, own_folders[i]);
		r = landlock_allow(rules_fd, AT_FDCWD, path, LANDLOCK_RUN);
	}
	return r;
}

static int allow_all(int rules_fd, const struct walls *w)
{
	int r = landlock_allow(rules_fd, AT_FDCWD, w->binary, LANDLOCK_RUN);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(system_folders) && r == 0; i++)
		r = landlock_allow(rules_fd, AT_FDCWD, system_folders[i], LANDLOCK_RUN);
	if (r == 0)
		r = allow_beside(rules_fd, w->binary);
	if (r == 0)
		r = landlock_allow(rules_fd, AT_FDCWD, "/dev/null", LANDLOCK_WRITE);
	if (r == 0)
		r = landlock_allow(rules_fd, AT_FDCWD, "/dev/urandom", LANDLOCK_READ);
	if (r == 0 && w->kvm)
		r = landlock_allow(rules_fd, AT_FDCWD, "/dev/kvm", LANDLOCK_WRITE);
	return r == 0 && w->allow ? w->allow(w->arg, rules_fd) : r;
}

static int limit_files(const struct walls *w)
{
	AUTO_CLOSE int low_fd = landlock_open(w->network);
	if (low_fd < 0)
		return low_fd;
	/* at a low number it would pass for one of the program's files */
	AUTO_CLOSE int rules_fd = fcntl(low_fd, F_DUPFD_CLOEXEC, w->fd_above);
	if (rules_fd < 0)
		return -errno;
	close(TAKE_FD(low_fd));
	int r = allow_all(rules_fd, w);
	return r < 0 ? r : landlock_enter(rules_fd);
}

/* ---- resources ---- */

static int limit_resources(const struct walls *w)
{
	const struct rlimit_most limits[] = {
		WALLS_RLIMITS,
		{ RLIMIT_NOFILE, w->files_max },
		{ RLIMIT_FSIZE, w->file_max_bytes },
		{ RLIMIT_NPROC, w->threads_max ? w->threads_max : RLIM_INFINITY },
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* they reserve terabytes */
		{ RLIMIT_AS, w->memory_max_bytes ? w->memory_max_bytes : RLIM_INFINITY },
#endif
	};
	return rlimit_lower_all(limits, MVM_ARRAY_SIZE(limits));
}

bool walls_count_threads(void)
{
	return syscall(SYS_memfd_secret, ~0u) < 0 && errno == EINVAL;
}

int walls_limit(const struct walls *w, unsigned isolation)
{
	int r = isolation & VMM_ISOLATION_LANDLOCK ? limit_files(w) : 0;
	return r == 0 && (isolation & VMM_ISOLATION_SYSCALLS) ? limit_resources(w) : r;
}

int walls_filter(const struct walls *w)
{
	return syscalls_enter(qemu_syscalls, MVM_ARRAY_SIZE(qemu_syscalls),
			      (w->network ? SYSCALLS_NETWORK : 0) | (w->kvm ? SYSCALLS_KVM : 0));
}
