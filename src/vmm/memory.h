/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_MEMORY_H
#define VMM_MEMORY_H

/* Files of a machine's memory: the one that will be captured, and a clone's own pages. */

#include "vmm/vmm.h"

/*
 * Make memory_name in memory_dir_fd: a new sparse file of the machine's size, with the mode of the
 * backend's memory files.
 *
 * QEMU itself would take any existing file, and would make a file with mode 0644.  Firecracker's
 * Diff snapshot needs the file to exist, and writes only the pages that the guest has touched.
 *
 * Returns 0, -EEXIST, or -errno of open(2), ftruncate(2) or fchmod(2).
 */
int vmm_memory_make(const struct vmm_ops *ops, const struct vmm_config *config,
		    struct mvm_error *err);

/* Give a memory file that was made in another way the mode that the backend's clones need.  It
 * changes the file's times.  Returns 0 or -errno. */
int vmm_memory_set_mode(const struct vmm_ops *ops, int fd);

/* pages_save() and pages_load() (vmm/pages.h) of a VMM's process, with a sentence on failure. */
int64_t vmm_memory_save(pid_t pid, int mem_fd, int to_fd, struct mvm_error *err);
int vmm_memory_load(pid_t pid, int mem_fd, int from_fd, struct mvm_error *err);

#endif
