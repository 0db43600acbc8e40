/* SPDX-License-Identifier: Apache-2.0 */
#ifndef START_WORKING_SET_H
#define START_WORKING_SET_H

/*
 * A snapshot's working set: the pages of mem.bin that a clone needs until it is ready.
 *
 * Where they are in no cache, a clone waits for the disk at one page fault after the other.  So
 *they are recorded once, when the snapshot is tested, and read ahead in a few large requests while
 *the VMM is still starting.
 *
 *	working_set_record(vmm_pid, mem_fd, &set, err);
 *	working_set_save(snapshot_fd, &set, err);
 *
 * and later working_set_read_ahead(snapshot_fd, mem_size).  It is a hint: without it, or with a
 * wrong one, a restore is slower and nothing else.  doc/snapshots.md describes the file.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/own.h"

#define WORKING_SET_NAME "working-set.bin"
#define WORKING_SET_PAGE 4096u

struct working_set {
	uint64_t n_pages; /* of mem.bin */
	uint64_t n_set;
	uint8_t *bits; /* page i: bit i % 8 of byte i / 8 */
};
void working_set_done(struct working_set *s);
DEFINE_AUTO_DONE(working_set, working_set_done)

/*
 * Record which pages of its memory file a VMM has in its page table and the file no hole for.
 *
 *   pid     the VMM of a clone that has just become ready
 *   mem_fd  mem.bin
 *
 * The kernel maps the 16 pages around each fault when it has them, so those are recorded as well.
 * Errors: -EACCES when we may not look at the process, -ENXIO when it does not map the file.
 */
int working_set_record(pid_t pid, int mem_fd, struct working_set *ret, struct mvm_error *err);

/* Write the new file WORKING_SET_NAME, synced. */
int working_set_save(int dir_fd, const struct working_set *s, struct mvm_error *err);

/*
 * Read the file's bytes.
 *
 *   mem_size  of mem.bin, which the file has to be about
 *
 * Returns 0, or -EBADMSG when it is no working set of such a file.
 */
int working_set_parse(const void *data, size_t len, uint64_t mem_size, struct working_set *ret,
		      struct mvm_error *err);

/*
 * Start to read the working set of the snapshot in dir_fd, unless it is in the page cache, where a
 * sample says so.  Does not wait for the disk more than the kernel makes it.
 *
 * Returns the bytes that were asked for: 0 when nothing had to be, or there is no working set.
 * Cost: 60 us when all is cached.
 */
uint64_t working_set_read_ahead(int dir_fd, uint64_t mem_size);

#endif
