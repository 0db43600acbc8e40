/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_KERNEL_H
#define IMAGE_KERNEL_H

/*
 * Import guest kernels from a Debian package, a bzImage or an ELF vmlinux.
 *
 * The result is a folder with "vmlinux", the uncompressed ELF that QEMU (through PVH) and
 * Firecracker both boot, and, from a package, "modules/" with the modules that a guest needs and
 * "modules/order", their file names in load order, one a line.  A bzImage or vmlinux alone brings
 * no modules: they are built in, or the image has them.
 */

#include <mvm/digest.h>
#include <mvm/kernel.h>
#include <mvm/progress.h>
#include <stdbool.h>

#include "base/error.h"

#define KERNEL_VERSION_SIZE 128u

struct kernel_info {
	char version[KERNEL_VERSION_SIZE]; /* release: "6.1.0-56-cloud-amd64" */
	const char *arch;		   /* "x86_64", "aarch64"; static text */
	bool pvh;			   /* QEMU can boot the ELF directly */
	unsigned n_modules;
	uint64_t vmlinux_bytes;
	struct mvm_digest vmlinux; /* SHA-256 of the ELF */
	/* SHA-256 over name, NUL and SHA-256 of each file, in load order; zero without modules */
	struct mvm_digest modules;
	uint8_t features[MVM_KERNEL_FEATURES]; /* enum mvm_kernel_has */
};

/*
 * Import a kernel.
 *
 *   src_fd       a regular file, read from its start; borrowed
 *   src_name     for messages
 *   dest_dir_fd  an empty folder; files are written 0444 and synced
 *   progress     may stop it, between two files of a package: -ECANCELED; may be NULL
 *   ret          filled in on success; plain storage
 *
 * Returns 0; -EINVAL (no kernel in it), -EBADMSG (damaged), -EFBIG, -ENOMEM or errno.  On failure
 * the folder holds a part of the result.  The import decompresses a package twice: first to find
 * out which modules a guest needs, then to copy them.
 */
int kernel_import(int src_fd, const char *src_name, int dest_dir_fd,
		  const struct mvm_progress *progress, struct kernel_info *ret,
		  struct mvm_error *err);

#endif
