/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEMPLATE_KERNEL_NEEDS_H
#define TEMPLATE_KERNEL_NEEDS_H

/* Can the backends boot this kernel?  Said when a template is built, not when it hangs. */

#include <mvm/build.h>

#include "build/build.h"

/*
 * Compare what the kernel has with what each backend needs to run this template.
 *
 *   spec      its network counts, and its initrd: what the image's own may bring is not asked for
 *   options   a backend that is named is the only one that counts
 *   progress  gets one note for each backend that cannot
 *
 * Returns 0; -EOPNOTSUPP when a snapshot is wanted and no backend could make one.  What is not
 * known of a kernel stops nothing.
 */
int kernel_needs_check(const struct mvm_template_spec *spec, const struct build_kernel *kernel,
		       const struct mvm_build_options *options, const struct mvm_progress *progress,
		       struct mvm_error *err);

#endif
