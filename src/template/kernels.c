/* SPDX-License-Identifier: Apache-2.0 */
/* The public face of build/kernels.h. */
#include "build/kernels.h"
#include "base/progress.h"
#include "start/context.h"

int mvm_kernel_add(struct mvm *mvm, const char *path, const char *name, bool force,
		   const struct mvm_progress *progress, struct mvm_kernel **ret,
		   struct mvm_error *err)
{
	struct progress_watch watch;
	int r = progress_take(&watch, &progress, err);
	return r < 0 ? r : kernels_add(mvm->store, path, name, force, progress, ret, err);
}

int mvm_kernel_list(struct mvm *mvm, struct mvm_kernel ***ret, size_t *ret_n, struct mvm_error *err)
{
	return kernels_list(mvm->store, ret, ret_n, err);
}

int mvm_kernel_remove(struct mvm *mvm, const char *name, struct mvm_error *err)
{
	return kernels_remove(mvm->store, name, err);
}
