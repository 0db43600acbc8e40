/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_USAGE_H
#define INSTANCE_USAGE_H

/* The host resources of a running instance, as the kernel accounts them now. */

#include <stdint.h>
#include <sys/types.h>

struct usage {
	uint64_t cpu_ns; /* of the VMM, since it was started */
	/* of the VMM.  private: pages that it has written and that only it has, swapped out or not.
	 * shared: mapped page cache, such as the snapshot's memory file, which clones share */
	uint64_t memory_private_bytes, memory_shared_bytes;
	uint64_t supervisor_private_bytes; /* private pages of the supervisor */
	uint64_t disk_bytes;		   /* allocated in the instance's folder */
};

/*
 * Measure.
 *
 *   vmm_pid, supervisor_pid  0: none
 *   dir_fd                   the instance's folder
 *
 * Unreadable values are 0, because processes may end at any time.  Cost: the kernel walks the VMM's
 * page tables, about a millisecond.
 */
void usage_read(pid_t vmm_pid, pid_t supervisor_pid, int dir_fd, struct usage *ret);

#endif
