/* SPDX-License-Identifier: Apache-2.0 */
#ifndef START_HOST_MEMORY_H
#define START_HOST_MEMORY_H

/* Does the memory of one guest, or of all guests together, fit this host? */

#include <mvm/mvm.h>
#include <mvm/progress.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct host_memory {
	uint64_t limit_bytes;	  /* the host's memory, or the cgroup's limit if that is less */
	uint64_t available_bytes; /* the part of limit_bytes that is available without swapping */
	uint64_t swap_bytes;	  /* the host's free swap */
	bool cgroup;		  /* limit_bytes is a cgroup's memory.max */
};

/*
 * Read how much memory this process may use.
 *
 * Returns 0 or -errno.  Source: proc(5), meminfo; Documentation/admin-guide/cgroup-v2.rst, memory.
 */
int host_memory_read(struct host_memory *ret);

/* host_memory_read() from other sources: the text of meminfo, and the cgroup2 folder `path` with
 * its parents up to `mount`.  path may be NULL. */
int host_memory_from(const char *meminfo, const char *mount, const char *path,
		     struct host_memory *ret);

/* Check that a guest of this size fits.  -EINVAL with both sizes when it is too large.  Every size
 * passes if the host's memory cannot be read. */
int host_memory_check(uint32_t mem_mib, struct mvm_error *err);

/* Check that n VMs fit into memory and swap together, each with at least least_bytes.  -ENOMEM
 * with the number that fits. */
int host_memory_check_many(const struct host_memory *m, uint32_t n, uint64_t least_bytes,
			   struct mvm_error *err);

/*
 * Before n guests of mem_mib start: add a note if they and the running guests may come to need more
 * memory than this host has.  Guests take memory only as they use it, so they start anyway.
 *
 * Cost: reads each instance's record.
 */
void host_memory_note(struct mvm *mvm, const struct host_memory *m, uint32_t mem_mib, uint32_t n,
		      const struct mvm_progress *progress);

#endif
