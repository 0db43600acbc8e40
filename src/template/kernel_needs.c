/* SPDX-License-Identifier: Apache-2.0 */
#include "template/kernel_needs.h"

#include <errno.h>

#include "base/error.h"
#include "base/str.h"

#define NEEDS(feature) (1u << (feature))

/* Every backend's devices need these, and so do the file systems that the initramfs mounts. */
#define NEEDS_ALWAYS                                                                               \
	(NEEDS(MVM_KERNEL_VIRTIO_MMIO) | NEEDS(MVM_KERNEL_VIRTIO_BLK) | NEEDS(MVM_KERNEL_EXT4) |   \
	 NEEDS(MVM_KERNEL_OVERLAY))

static const struct needs {
	const char *backend;
	unsigned features;
	bool pvh; /* the backend boots an ELF kernel only by its PVH entry */
} needs[] = {
	{ "qemu", NEEDS_ALWAYS | NEEDS(MVM_KERNEL_VIRTIO_CONSOLE), true },
	{ "firecracker", NEEDS_ALWAYS | NEEDS(MVM_KERNEL_VSOCK), false },
};

/* Write the features that are missing, as in "pvh, virtio_mmio"; nothing if none is. */
static void list_missing(const struct needs *n, const struct mvm_template_spec *spec,
			 const struct build_kernel *kernel, struct strbuf *ret)
{
	bool ours = spec->run.initrd != MVM_INITRD_IMAGE; /* the image's may bring any module */
	unsigned wanted = ours ? n->features : 0;

	if (ours && spec->run.network != MVM_NETWORK_NONE)
		wanted |= NEEDS(MVM_KERNEL_VIRTIO_NET);
	if (n->pvh && !kernel->pvh)
		strbuf_adds(ret, "pvh");
	for (unsigned i = 0; i < MVM_KERNEL_FEATURES; i++) {
		if ((wanted & NEEDS(i)) && kernel->features[i] == MVM_KERNEL_NO)
			strbuf_addf(ret, "%s%s", ret->len ? ", " : "", mvm_kernel_feature_name(i));
	}
}

int kernel_needs_check(const struct mvm_template_spec *spec, const struct build_kernel *kernel,
		       const struct mvm_build_options *options, const struct mvm_progress *progress,
		       struct mvm_error *err)
{
	AUTO_DONE(strbuf) reasons = { 0 };
	bool one_can = false;

	if (!kernel->known)
		return 0;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(needs); i++) {
		AUTO_DONE(strbuf) missing = { 0 };
		if (options->backend && !str_eq(options->backend, needs[i].backend))
			continue;
		list_missing(&needs[i], spec, kernel, &missing);
		if (missing.failed)
			return mvm_error_oom(err);
		if (!missing.len) {
			one_can = true;
			continue;
		}
		progress_note(progress, "%s: the kernel has no %s, so %s cannot run this template",
			      spec->template_id, missing.data, needs[i].backend);
		strbuf_addf(&reasons, "%s%s needs %s", reasons.len ? "; " : "", needs[i].backend,
			    missing.data);
	}
	if (one_can || !options->snapshot || !reasons.len)
		return 0;
	int r = mvm_error_set(err, -EOPNOTSUPP,
			      "no snapshot can be made with this kernel, which lacks features: %s",
			      reasons.data);
	return mvm_error_hint(
		err, r, "use the kernel of Debian's linux-image-cloud-amd64, which has everything");
}
