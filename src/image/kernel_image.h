/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_KERNEL_IMAGE_H
#define IMAGE_KERNEL_IMAGE_H

/*
 * Kernel images in memory.
 *
 * Source: the kernel's Documentation/arch/x86/boot.rst (bzImage: setup_sects, HdrS, payload_offset,
 * payload_length); include/xen/interface/elfnote.h (PVH).
 */

#include <stddef.h>

#include "image/kernel.h"

#define KERNEL_IMAGE_MAX ((size_t)256 << 20)

/* Does it begin like a bzImage or an ELF file? */
bool kernel_image_is(const void *data, size_t len);

/*
 * The uncompressed ELF of a bzImage (payload gzip, bzip2, xz, lzma, zstd or lz4) or of itself.
 *
 *   ret   the caller's
 *
 * Returns 0; -EINVAL (neither), -EBADMSG (damaged), -EOPNOTSUPP (a bzImage too old to say where its
 * payload is), -EFBIG or -ENOMEM.
 */
int kernel_image_unpack(const void *data, size_t len, const char *name, char **ret, size_t *ret_len,
			struct mvm_error *err);

/* Fill in all but the modules.  A version that is set already stays.  -EINVAL: no Linux kernel. */
int kernel_image_describe(const void *elf, size_t len, const char *name, struct kernel_info *ret,
			  struct mvm_error *err);

#endif
