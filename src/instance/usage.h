/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_USAGE_H
#define INSTANCE_USAGE_H

/* What a running instance takes from its host, as the kernel accounts it at this moment. */

#include <stdint.h>
#include <sys/types.h>

struct usage {
	uint64_t cpu_ns; /* of the VMM, since it was started */
	/* of the VMM: what it has written to and only it has, swapped out or not / what it maps of
	 * the page cache, such as the snapshot's memory file, which clones share */
	uint64_t memory_private_bytes, memory_shared_bytes;
	uint64_t supervisor_private_bytes; /* likewise */
	uint64_t disk_bytes;		   /* allocated in the instance's folder */
};

/*
 * Measure.
 *
 *   vmm_pid, supervisor_pid  0: none
 *   dir_fd                   the instance's folder
 *
 * What cannot be read counts as 0: processes end at any time.  Cost: the kernel walks the VMM's
 * page tables, a millisecond or so.
 */
void usage_read(pid_t vmm_pid, pid_t supervisor_pid, int dir_fd, struct usage *ret);

#endif
