/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEMPLATE_KERNEL_NEEDS_H
#define TEMPLATE_KERNEL_NEEDS_H

/* Can the backends boot this kernel?  A build says so, instead of a guest that hangs. */

#include <mvm/build.h>

#include "build/build.h"

/*
 * Compare a kernel's features with those that each backend needs to run this template.
 *
 *   spec      its network counts, and its initrd: the image's own initrd may bring modules, so the
 *             check leaves those out
 *   options   if they name a backend, only that one counts
 *   progress  gets one note for each backend that cannot boot the kernel
 *
 * Returns 0; -EOPNOTSUPP when a snapshot is wanted and no backend could make it.  An unknown
 * feature passes.
 */
int kernel_needs_check(const struct mvm_template_spec *spec, const struct build_kernel *kernel,
		       const struct mvm_build_options *options, const struct mvm_progress *progress,
		       struct mvm_error *err);

#endif
