/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_MOUNTS_H
#define GUEST_MOUNTS_H

#include <mvm/error.h>

/* The kernel's own file systems, in the initramfs: /proc, /sys, /dev, /run, cgroup v2 (without
 * which a guest runs, but cannot be frozen). */
int mounts_early(struct mvm_error *err);

/*
 * Put the root together and move into it: the disk read-only below, memory above.
 *
 *   device  "/dev/vda"
 *   fstype  "ext4"
 *
 * The initramfs is emptied.  Afterwards "/" is the guest's root for good.
 */
int mounts_switch_root(const char *device, const char *fstype, struct mvm_error *err);

/* Mount the data disk at /data of the root that was entered. */
int mounts_data(const char *device, struct mvm_error *err);

/* Remount one file system read-only; one that cannot be stays as it is. */
void mounts_make_read_only(const char *folder);

#endif
