/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_PROBE_CACHE_H
#define VMM_PROBE_CACHE_H

/*
 * The result of a probe, kept in a file.  So a start need not ask the program for its version and
 * measure the TSC.
 *
 * An entry is valid while the program's file (device, inode, size, mtime, ctime), the accelerator
 * and the CPU are the same.  A damaged file is a miss, and the next save replaces it.  Only probes
 * that found a usable backend are kept.
 */

#include <sys/stat.h>

#include "vmm/vmm.h"

/* An entry is valid for this binary, accelerator and CPU. */
struct probe_key {
	const char *binary; /* absolute path */
	struct stat st;	    /* of binary */
	enum vmm_accel accel;
	const char *cpu; /* cpuinfo_fingerprint() */
};

/* Returns 1 with a probe (accel_reason is NULL), 0 on a miss, -ENOMEM. */
int probe_cache_load(int dir_fd, const char *backend, const struct probe_key *key,
		     struct vmm_probe *ret);

/* Returns 0 or -errno. */
int probe_cache_save(int dir_fd, const char *backend, const struct probe_key *key,
		     const struct vmm_probe *probe);

#endif
