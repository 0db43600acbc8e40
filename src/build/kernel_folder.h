/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BUILD_KERNEL_FOLDER_H
#define BUILD_KERNEL_FOLDER_H

/*
 * The files of a kernel's folder: kernel.json, vmlinux, and modules/ with the file "order" and the
 * modules that "order" names.
 */

#include <stdbool.h>

#include "base/error.h"

#define KERNEL_JSON	"kernel.json"
#define KERNEL_JSON_MAX ((size_t)64 << 10)

/* Is it a kernel of mvm's, damaged or not?  A foreign folder or file is none. */
bool kernel_folder_is_own(int kernels_fd, const char *name);

/*
 * May mvm remove or replace the folder with this name?
 *
 * Returns 0; -EEXIST with a sentence when the folder is no kernel's or holds a file that mvm did
 * not make; or another -errno.
 */
int kernel_folder_may_go(int kernels_fd, const char *name, struct mvm_error *err);

#endif
