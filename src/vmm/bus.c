/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/bus.h"

#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/statfs.h>

#define FULL_BYTES (1u << 20)

void bus_describe(int memory_dir_fd, char ret[BUS_TEXT_SIZE])
{
	struct statfs fs;
	ret[0] = '\0';
	if (memory_dir_fd < 0)
		return;
	if (fstatfs(memory_dir_fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC &&
	    (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize < FULL_BYTES)
		snprintf(ret, BUS_TEXT_SIZE,
			 ": the data folder is a tmpfs and full, and the VM's memory needs a page "
			 "of it for each page of the guest's that the snapshot left empty; make "
			 "room there, or keep the data folder on a disk");
	else
		snprintf(ret, BUS_TEXT_SIZE,
			 ": a page of its memory could not be read from the snapshot's file; the "
			 "disk may have a fault, of which the host's kernel log tells");
}
