/* SPDX-License-Identifier: Apache-2.0 */
#include <mvm/store.h>

#include "base/error.h"
#include "base/progress.h"
#include "start/context.h"
#include "vmm/mend.h"

void mvm_backend_info_free(struct mvm_backend_info *b)
{
	if (!b)
		return;
	free(b->reason);
	free(b->binary);
	free(b->version);
	free(b->accelerator_reason);
	free(b);
}
DEFINE_LIST_FREE(mvm_backend_list_free, mvm_backend_info, mvm_backend_info_free)

static int describe(struct mvm *mvm, const struct vmm_ops *ops, const struct mvm_progress *progress,
		    struct mvm_backend_info **ret, struct mvm_error *err)
{
	AUTO_DONE(vmm_probe) probe = { 0 };
	int r = vmm_backend_probe(ops, store_dir(mvm->store, STORE_CACHE), progress, &probe, err);
	if (r < 0)
		return r;
	struct mvm_backend_info *b = calloc(1, sizeof(*b));
	if (!b)
		return mvm_error_oom(err);
	*b = (struct mvm_backend_info){
		.name = ops->name,
		.usable = probe.usable,
		/* first: the next lines empty probe */
		.mend = mend_backend(ops, &probe),
		.mend_reason = mend_is_kvm(ops, &probe) ? "kvm-unusable" : NULL,
		.reason = TAKE_PTR(probe.reason),
		.binary = TAKE_PTR(probe.binary),
		.version = TAKE_PTR(probe.version),
		.accelerator = vmm_accel_name(probe.accel),
		.accelerator_reason = TAKE_PTR(probe.accel_reason),
		.snapshots = ops->caps.snapshots,
		.pause = ops->caps.pause,
		.network = !vmm_network_obstacle(ops),
		.shared_memory = ops->caps.shared_memory_clones,
		.agent_transport = ops->caps.agent_transport,
	};
	*ret = b;
	return 0;
}

int mvm_backend_list(struct mvm *mvm, const struct mvm_progress *progress,
		     struct mvm_backend_info ***ret, size_t *ret_n, struct mvm_error *err)
{
	size_t total = 0, n = 0;
	struct progress_watch watch;
	int r = progress_take(&watch, &progress, err);
	if (r < 0)
		return r;
	while (vmm_backends[total])
		total++;
	struct mvm_backend_info **list = calloc(total + 1, sizeof(*list));
	if (!list)
		return mvm_error_oom(err);
	for (; n < total; n++) {
		r = describe(mvm, vmm_backends[n], progress, &list[n], err);
		if (r == 0)
			continue;
		mvm_backend_list_free(list, n);
		return r;
	}
	*ret = list;
	*ret_n = n;
	return 0;
}
