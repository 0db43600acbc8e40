/* SPDX-License-Identifier: Apache-2.0 */
#ifndef START_HOST_MEMORY_H
#define START_HOST_MEMORY_H

/* Does a guest's memory fit this host, and would the guests together? */

#include <mvm/mvm.h>
#include <mvm/progress.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct host_memory {
	uint64_t limit_bytes;	  /* what there is: the host's, or the cgroup's if that is less */
	uint64_t available_bytes; /* of it, what can be had without swapping */
	uint64_t swap_bytes;	  /* the host's, free */
	bool cgroup;		  /* limit_bytes is a cgroup's memory.max */
};

/*
 * Read what this process may use.
 *
 * Returns 0 or -errno.  Source: proc(5), meminfo; Documentation/admin-guide/cgroup-v2.rst, memory.
 */
int host_memory_read(struct host_memory *ret);

/* The same by other files: the text of meminfo, and a cgroup2 folder with all above it up to
 * `mount`; path may be NULL. */
int host_memory_from(const char *meminfo, const char *mount, const char *path,
		     struct host_memory *ret);

/* Can a guest be so large?  0; -EINVAL with both sizes when it cannot.  A host that cannot be asked
 * refuses nothing. */
int host_memory_check(uint32_t mem_mib, struct mvm_error *err);

/* Can n VMs start that take at least so much each, memory and swap together?  0, or -ENOMEM with
 * how many can. */
int host_memory_check_many(const struct host_memory *m, uint32_t n, uint64_t least_bytes,
			   struct mvm_error *err);

/*
 * Before n guests of mem_mib start: note when they and those that run may come to need more than
 * this host has.  Guests take memory only as they use it, so they start all the same.
 *
 * Cost: a look at each instance's record.
 */
void host_memory_note(struct mvm *mvm, uint32_t mem_mib, uint32_t n,
		      const struct mvm_progress *progress);

#endif
