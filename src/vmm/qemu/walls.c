/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What QEMU may open, use up and ask of the kernel.  QEMU's own -sandbox comes on top, and takes
 * away the right to execute.
 */
#include <errno.h>
#include <fcntl.h>

#include "base/landlock.h"
#include "vmm/qemu/qemu.h"
#include "vmm/walls.h"

#define FILES_MAX   256u
#define THREADS_MAX 128u /* beside the virtual CPUs': 64 for each kind of file */

/* Allow the files that QEMU opens again.  The descriptors are at their numbers by now. */
static int allow_files(void *arg, int rules_fd)
{
	const struct qemu_child *child = arg;
	int r = 0;
	for (int fd = QEMU_FD_MEMORY; fd < QEMU_FD_STATE && r == 0; fd++) {
		bool writes = fd >= QEMU_FD_DRIVES ? child->writes & 1u << (fd - QEMU_FD_DRIVES)
						   : fd == QEMU_FD_MEMORY && (child->captures ||
									      child->opens_memory);
		if (fcntl(fd, F_GETFD) >= 0)
			r = landlock_allow(rules_fd, fd, "",
					   writes ? LANDLOCK_WRITE : LANDLOCK_READ);
	}
	return r;
}

int qemu_walls_enter(void *arg)
{
	struct qemu_child *child = arg;
	bool counted = child->user.fd >= 0 ||
		       ((child->isolation & VMM_ISOLATION_NAMESPACES) && walls_count_threads());
	const struct walls walls = {
		.binary = child->binary,
		.kvm = child->kvm,
		.files_max = FILES_MAX,
		.file_max_bytes = child->file_max_bytes,
		.threads_max = counted ? THREADS_MAX + child->vcpus : 0,
		.allow = allow_files,
		.arg = child,
		.fd_above = QEMU_FD_END,
	};
	int r = child->memory ? lend_in_child(child->lend_fd) : 0;
	if (r == 0 && child->memory && child->user.fd >= 0)
		r = -EOPNOTSUPP; /* QEMU's user could not open the file itself */
	child->opens_memory = r == 0 && child->memory;
	if (r >= 0)
		r = walls_limit(&walls, child->isolation);
	if (r < 0 || !(child->isolation & VMM_ISOLATION_SYSCALLS))
		return r < 0 ? r : 0;
	return walls_filter(&walls);
}
