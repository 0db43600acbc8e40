/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "vmm/pages.h"

int vmm_memory_make(const struct vmm_ops *ops, const struct vmm_config *c, struct mvm_error *err)
{
	AUTO_CLOSE int fd = openat(c->memory_dir_fd, c->memory_name,
				   O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return mvm_error_set(err, -errno, "cannot create '%s': %s", c->memory_name,
				     strerror(errno));
	if (ftruncate(fd, (off_t)c->mem_mib << 20) < 0)
		return mvm_error_set(err, -errno, "cannot size '%s': %s", c->memory_name,
				     strerror(errno));
	int r = vmm_memory_set_mode(ops, fd);
	return r < 0 ? mvm_error_set(err, r, "cannot change the mode of '%s': %s", c->memory_name,
				     strerror(-r))
		     : 0;
}

int vmm_memory_set_mode(const struct vmm_ops *ops, int fd)
{
	return fchmod(fd, ops->caps.memory_mode) < 0 ? -errno : 0;
}

/* The pages are read and written from outside, which takes the right to trace the VMM. */
static int refused(int r, const char *what, struct mvm_error *err)
{
	if (r == -EBADMSG)
		return mvm_error_set(err, r, "the saved memory is damaged");
	bool trace = r == -EPERM || r == -EACCES;
	return mvm_error_set(err, r, "cannot %s the VM's memory: %s%s", what, strerror(-r),
			     trace ? "; mvm needs the right to trace its VMM (CAP_SYS_PTRACE)"
				   : "");
}

int64_t vmm_memory_save(pid_t pid, int mem_fd, int to_fd, struct mvm_error *err)
{
	int64_t r = pages_save(pid, mem_fd, to_fd);
	return r < 0 ? refused((int)r, "save", err) : r;
}

int vmm_memory_load(pid_t pid, int mem_fd, int from_fd, struct mvm_error *err)
{
	int r = pages_load(pid, mem_fd, from_fd);
	return r < 0 ? refused(r, "load", err) : 0;
}
