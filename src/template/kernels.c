/* SPDX-License-Identifier: Apache-2.0 */
/* The public face of build/kernels.h. */
#include "build/kernels.h"
#include "start/context.h"

int mvm_kernel_add(struct mvm *mvm, const char *path, const char *name, bool force,
		   struct mvm_kernel **ret, struct mvm_error *err)
{
	return kernels_add(mvm->store, path, name, force, ret, err);
}

int mvm_kernel_list(struct mvm *mvm, struct mvm_kernel ***ret, size_t *ret_n, struct mvm_error *err)
{
	return kernels_list(mvm->store, ret, ret_n, err);
}

int mvm_kernel_remove(struct mvm *mvm, const char *name, struct mvm_error *err)
{
	return kernels_remove(mvm->store, name, err);
}
