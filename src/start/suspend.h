/* SPDX-License-Identifier: Apache-2.0 */
#ifndef START_SUSPEND_H
#define START_SUSPEND_H

#include <mvm/error.h>
#include <mvm/mvm.h>
#include <mvm/progress.h>

/* Continue an instance if it is suspended.  progress: may be NULL.  Returns 1, 0 (it is not) or
 * -errno. */
int resume_suspended(struct mvm *mvm, const char *name, const struct mvm_progress *progress,
		     struct mvm_error *err);

/* End an instance if it is suspended: forget its state.  Returns 1, 0 (it is not) or -errno. */
int stop_suspended(struct mvm *mvm, const char *name, struct mvm_error *err);

#endif
