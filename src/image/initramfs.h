/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_INITRAMFS_H
#define IMAGE_INITRAMFS_H

/*
 * The initial RAM file system that every guest of mvm boots from: the agent as /init, the modules
 * that the kernel needs under /lib/modules/mvm with their order, the folders /dev /proc /sys /run
 * /newroot, and /dev/console.  The archive is an uncompressed cpio ("newc").  Root owns every file,
 * times are 0, and inodes are numbered in a row: same parts, same bytes.
 *
 * Source: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
 */

#include "base/error.h"

/*
 * Write the archive.
 *
 *   out_fd      an empty file, written from its current offset; durable after the caller's fsync
 *   agent_fd    the agent's static binary, a regular file, read from its start
 *   modules_fd  the folder "modules" of kernel_import(); -1: no modules
 *
 * Returns 0; -EBADMSG (the file "order" names something else than a module), -EFBIG (a part of
 * more than 64 MiB), -ENOENT (a module in "order" is missing), -ENOMEM or errno.
 */
int initramfs_write(int out_fd, int agent_fd, int modules_fd, struct mvm_error *err);

#endif
