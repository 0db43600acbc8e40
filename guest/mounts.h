/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_MOUNTS_H
#define GUEST_MOUNTS_H

#include <stdbool.h>

#include <mvm/error.h>

/* Mount the kernel's own file systems where every root has them: /proc, /sys, /dev, cgroup v2
 * (without which a guest runs, but cannot be frozen). */
int mounts_kernel(struct mvm_error *err);

/*
 * Put the root together and move into it: the image read-only below, and above it what the guest
 * writes, in memory or on a disk.
 *
 *   device     "/dev/vda"
 *   fstype     "ext4"
 *   upper      "/dev/vdb", with ext4; NULL: memory
 *   ret_upper  the root folder of the upper disk, which no path leads to afterwards; unchanged
 *              without one
 *
 * The initramfs is emptied.  Afterwards "/" is the guest's root for good.  It has the image's mode,
 * owner and extended attributes, and the kernel's file systems again, with all that container
 * runtimes put into /dev.
 */
int mounts_switch_root(const char *device, const char *fstype, const char *upper, int *ret_image_fd,
		       int *ret_upper, struct mvm_error *err);

/*
 * Mount memory for the agent's own files, once the guest's command is known.
 *
 *   for_init  the image's own init gets a clean /run, as it does on any machine; else there is just
 *             /run/mvm, and the rest of /run is the image's
 */
int mounts_run(bool for_init, struct mvm_error *err);

/* Mount the data disk at /data of the root that was entered, with the owner and mode that the
 * image's folder has there. */
int mounts_data(const char *device, struct mvm_error *err);

/* Remount one file system read-only; a failure leaves it unchanged. */
void mounts_make_read_only(const char *folder);

#endif
