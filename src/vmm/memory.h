/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_MEMORY_H
#define VMM_MEMORY_H

/* The memory file of a machine that will be captured. */

#include "vmm/vmm.h"

/*
 * Make memory_name in memory_dir_fd: new, the caller's alone, sparse and of the machine's size.
 *
 * QEMU would take any file that is there, and make one 0644; Firecracker's Diff snapshot fills in
 * the pages that the guest touched.
 *
 * Returns 0, -EEXIST and what open(2) and ftruncate(2) say.
 */
int vmm_memory_make(const struct vmm_config *config, struct mvm_error *err);

#endif
