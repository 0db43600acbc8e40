/* SPDX-License-Identifier: Apache-2.0 */
#ifndef START_SUSPEND_H
#define START_SUSPEND_H

#include <mvm/error.h>
#include <mvm/mvm.h>

/* Continue an instance if it is suspended.  Returns 1, 0 (it is not) or -errno. */
int resume_suspended(struct mvm *mvm, const char *name, struct mvm_error *err);

/* End an instance if it is suspended: forget its state.  Likewise. */
int stop_suspended(struct mvm *mvm, const char *name, struct mvm_error *err);

#endif
