/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BUILD_KERNEL_FOLDER_H
#define BUILD_KERNEL_FOLDER_H

/*
 * What belongs to a kernel's folder: kernel.json, vmlinux, and modules/ with the file "order" and
 * the modules that it names.
 */

#include "base/error.h"

#define KERNEL_JSON	"kernel.json"
#define KERNEL_JSON_MAX ((size_t)64 << 10)

/*
 * May the folder of this name be removed or replaced?
 *
 * Returns 0; -EEXIST when it is no kernel's, or has a file in it that mvm did not make, with a
 * sentence; or another -errno.
 */
int kernel_folder_may_go(int kernels_fd, const char *name, struct mvm_error *err);

#endif
