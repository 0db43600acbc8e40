/* SPDX-License-Identifier: Apache-2.0 */
#ifndef START_WORKING_SET_H
#define START_WORKING_SET_H

/*
 * A snapshot's working set: the pages of mem.bin that a clone needs until its first command ends.
 *
 * If the pages are not cached, a clone waits for the disk at one page fault after the other.  So
 * mvm records them once, when it tests the snapshot.  A start reads them ahead in a few large
 * requests while the VMM still starts.
 *
 *	working_set_record(vmm_pid, mem_fd, &set, err);
 *	working_set_save(snapshot_fd, &set, err);
 *
 * and later working_set_read_ahead(snapshot_fd, mem_size).  The set is a hint: a missing or wrong
 * set only makes a restore slower.  doc/snapshots.md describes the file.
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
 * Record the pages of the memory file that are in the VMM's page table and not in a hole.
 *
 *   pid     the VMM of a clone that has rehearsed and has just become ready
 *   mem_fd  mem.bin
 *
 * The kernel maps up to 16 cached pages around each fault, so the record includes those as well.
 * Errors: -EACCES when mvm may not read the process's page table, -ENXIO when the process does not
 * map the file.
 */
int working_set_record(pid_t pid, int mem_fd, struct working_set *ret, struct mvm_error *err);

/* Write the new file WORKING_SET_NAME, synced. */
int working_set_save(int dir_fd, const struct working_set *s, struct mvm_error *err);

/*
 * Read the file's bytes.
 *
 *   mem_size  of the mem.bin that the set should describe
 *
 * Returns 0, or -EBADMSG when it is no working set of a file of that size.
 */
int working_set_parse(const void *data, size_t len, uint64_t mem_size, struct working_set *ret,
		      struct mvm_error *err);

/*
 * Start to read the working set of the snapshot in dir_fd.  Does nothing if a sample of its pages
 * is in the page cache.  Waits for the disk only where the kernel does.
 *
 * Returns the number of requested bytes: 0 when all is cached, or without a working set.
 * Cost: 60 us when all is cached.
 */
uint64_t working_set_read_ahead(int dir_fd, uint64_t mem_size);

#endif
