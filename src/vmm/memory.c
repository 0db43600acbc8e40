/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int vmm_memory_make(const struct vmm_config *c, struct mvm_error *err)
{
	AUTO_CLOSE int fd = openat(c->memory_dir_fd, c->memory_name,
				   O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return mvm_error_set(err, -errno, "cannot create '%s': %s", c->memory_name,
				     strerror(errno));
	if (ftruncate(fd, (off_t)c->mem_mib << 20) < 0)
		return mvm_error_set(err, -errno, "cannot size '%s': %s", c->memory_name,
				     strerror(errno));
	return 0;
}
