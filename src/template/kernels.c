/* SPDX-License-Identifier: Apache-2.0 */
/* The public face of build/kernels.h, and kernels from registries. */
#include "build/kernels.h"
#include "base/progress.h"
#include "codec/sha256.h"
#include "model/image_ref.h"
#include "model/name.h"
#include "pull/pull.h"
#include "start/context.h"

DEFINE_AUTO(mvm_kernel, mvm_kernel_free)

#define FETCH_MAX (UINT64_C(1) << 30) /* of a kernel's package */

int mvm_kernel_add(struct mvm *mvm, const char *path, const char *name, bool force,
		   const struct mvm_progress *progress, struct mvm_kernel **ret,
		   struct mvm_error *err)
{
	struct progress_watch watch;
	int r = progress_take(&watch, &progress, err);
	return r < 0 ? r : kernels_add(mvm->store, path, name, force, progress, ret, err);
}

int mvm_kernel_pull(struct mvm *mvm, const char *from, const char *name, bool force,
		    const struct mvm_progress *progress, struct mvm_kernel **ret,
		    struct mvm_error *err)
{
	AUTO_DONE(staging) st = STAGING_NONE;
	AUTO(pull) p = NULL;
	AUTO_CLOSE int fd = -1;
	struct progress_watch watch;
	AUTO(mvm_kernel) here = NULL;
	struct pull_found found;
	char digest[DIGEST_TEXT_SIZE];

	int r = progress_take(&watch, &progress, err);
	if (r == 0 && name)
		r = name_check(NAME_KERNEL, name, err);
	if (r == 0)
		r = pull_open(mvm->store, image_ref_bare(from), 0, progress, &p, err);
	if (r < 0)
		return r;
	r = pull_resolve(p, &found, err);
	if (r < 0)
		return r;
	digest_text(&found.manifest, digest);
	progress_note(progress, "kernel: %s is %s", pull_place(p), digest);
	if (!force && kernels_find_source(mvm->store, &found.manifest, name, &here)) {
		if (ret)
			*ret = TAKE_PTR(here);
		return 0;
	}
	r = store_stage(mvm->store, &st, err);
	if (r < 0)
		return r;
	r = pull_file(p, &found.manifest, FETCH_MAX, st.fd, &fd, err);
	r = store_mend(mvm->store, r, err);
	return r < 0 ? mvm_error_context(err, r, "cannot get a kernel from '%s'", from)
		     : kernels_add_file(mvm->store, fd, from, &found.manifest, name, force,
					progress, ret, err);
}

int mvm_kernel_list(struct mvm *mvm, struct mvm_kernel ***ret, size_t *ret_n, struct mvm_error *err)
{
	return kernels_list(mvm->store, ret, ret_n, err);
}

int mvm_kernel_remove(struct mvm *mvm, const char *name, struct mvm_error *err)
{
	return kernels_remove(mvm->store, name, err);
}
