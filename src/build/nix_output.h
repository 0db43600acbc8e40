/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BUILD_NIX_OUTPUT_H
#define BUILD_NIX_OUTPUT_H

/*
 * The output of a flake's package in the Nix store: a folder with "rootfs.ext4" or "rootfs" (an
 * ext4 image, a folder or a tar), and optionally "vmlinux" or "kernel", "lib/modules", and
 * "initrd".
 *
 * Nix often makes these files links.  mvm follows a link only if it leads into the store.
 */

#include "base/error.h"
#include "build/builder.h"
#include "image/image.h"

/*
 * Take the artifacts from an output.
 *
 *   path     of the output, absolute
 *   out_fd   gets the root filesystem: an empty regular file
 *   work_fd  an empty folder that gets the kernel and the initrd
 *   options  of the root filesystem; borrowed
 *   ret      its kernel_fd is set when there is a kernel, has_initrd when there is an initrd
 *
 * Errors: -EINVAL (no such folder; the text lists the contents), -EFBIG (an initrd over 1
 * GiB), -EACCES (a link leads out of the store), and those of image/image.h, image/image_ext4.h,
 * image/kernel.h.
 */
int nix_output_take(const char *path, int out_fd, int work_fd, const struct image_options *options,
		    struct build_product *ret, struct mvm_error *err);

#endif
