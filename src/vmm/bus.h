/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_BUS_H
#define VMM_BUS_H

/*
 * Why does a VMM die of SIGBUS?  A page of the file that is its memory could not be had.
 *
 * A clone maps mem.bin privately.  A hole of that file costs nothing on a disk.  On tmpfs the first
 * access to it, also a write to the clone's own copy, takes a page of the file system, and fails
 * when there is none.
 *
 * Source: Linux mm/shmem.c, shmem_fault(); Documentation/filesystems/tmpfs.rst.
 */

#define BUS_TEXT_SIZE 384u

/*
 * Continue the sentence "was killed by signal 7" with the cause and the remedy.
 *
 *   memory_dir_fd  the folder of the memory's file; negative: the memory is no file
 *   ret            "" when the memory is no file
 */
void bus_describe(int memory_dir_fd, char ret[BUS_TEXT_SIZE]);

#endif
