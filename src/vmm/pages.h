/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_PAGES_H
#define VMM_PAGES_H

/*
 * A clone's own pages of memory.
 *
 * A clone maps the snapshot's memory privately.  Its pages that differ from the snapshot's are
 * exactly those that /proc/PID/pagemap calls present or swapped, and not file-backed.  pages_save()
 * writes them into a file, and pages_load() writes them over a fresh mapping of the same memory.
 * Both copy bytes and look into none.
 *
 * The file, all numbers little-endian: "MVMPAGE1", the page size (u32), 0 (u32), the pages of the
 * memory (u64), the number of extents (u64); for each extent its first page and its number of pages
 * (u64 each), ascending; zeros up to the next page boundary; then the pages.  Pages of zeros are
 * holes.
 *
 * Source: Documentation/admin-guide/mm/pagemap.rst; process_vm_readv(2).
 */

#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/own.h"

#define PAGES_SIZE 4096u

struct pages_extent {
	uint64_t first, n; /* pages of the memory */
};

struct pages_map {
	struct pages_extent *v;
	size_t n;
	uint64_t n_pages; /* in all extents */
};
void pages_map_done(struct pages_map *m);
DEFINE_AUTO_DONE(pages_map, pages_map_done)

/* A part of a file in a process's memory; in pages. */
struct pages_mapping {
	uint64_t first_page, n_pages, file_page;
};
typedef int (*pages_mapping_fn)(void *arg, int pagemap_fd, const struct pages_mapping *m);

/* Call fn for each mapping of the file "mem.bin".  The process is one of ours, or the caller is
 * root.  Returns 0, fn's first failure, -ENXIO (no mapping) or -errno. */
int pages_each_mapping(pid_t pid, const struct stat *file, pages_mapping_fn fn, void *arg);

/*
 * Write a process's own pages of its private mapping of a memory file.  No guest may run in the
 * process meanwhile.
 *
 *   mem_fd   the memory file
 *   to_fd    a new, empty file; written from its start.  If a write fails, the file's size tells
 *            how much room all the pages need
 *
 * Returns the number of pages, or -errno.
 */
int64_t pages_save(pid_t pid, int mem_fd, int to_fd);

/* Write the pages of a pages_save() over a process's private mapping, in which no guest has run.
 * Returns 0, -EBADMSG (no file of pages_save(), or of another size of memory) or -errno. */
int pages_load(pid_t pid, int mem_fd, int from_fd);

/* Write the pages of a pages_save() into a copy of the memory file.  Returns as pages_load(). */
int pages_flatten(int from_fd, int memory_fd);

/*
 * Read the map at the file's beginning.
 *
 *   file_bytes  size of the whole file
 *   n_memory    pages of the memory
 *
 * Returns the length of the map in the file, which is a multiple of PAGES_SIZE; or -EBADMSG when
 * the extents are not ascending, lie outside the memory, or do not give the file's size; -ENOMEM.
 */
int64_t pages_map_parse(const void *data, size_t len, uint64_t file_bytes, uint64_t n_memory,
			struct pages_map *ret);

#endif
