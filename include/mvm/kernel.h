/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_KERNEL_H
#define MVM_KERNEL_H

/*
 * Guest kernels: what images that bring none are booted with.  A kernel is imported once from a
 * Debian package, a bzImage or an uncompressed ELF vmlinux, with the modules that a guest needs.
 */

#include <mvm/digest.h>
#include <mvm/error.h>
#include <mvm/mvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mvm_kernel {
	char *name;    /* what `kernel = "..."` in a template says */
	char *version; /* release, "6.1.0-56-cloud-amd64"; "" when the file does not say */
	char *added_at;
	struct mvm_digest vmlinux; /* of the uncompressed ELF */
	struct mvm_digest modules; /* of the modules and their order; zero without modules */
	uint64_t vmlinux_bytes;
	uint32_t n_modules;
	bool pvh; /* can be booted by QEMU directly */
};
MVM_API void mvm_kernel_free(struct mvm_kernel *kernel);

/*
 * Import a kernel.
 *
 *   path   of a .deb, a bzImage (vmlinuz) or a vmlinux
 *   name   what to call it; NULL: its version
 *   force  replace one of that name; revisions built with the old one keep it
 *   ret    what was added, the caller's; may be NULL
 *
 * Returns 1 if it was added, 0 if exactly this kernel was there under that name.
 * Errors: -EINVAL (no kernel in that file), -EEXIST, -ENOENT and others for the file.
 */
MVM_API int mvm_kernel_add(struct mvm *mvm, const char *path, const char *name, bool force,
			   struct mvm_kernel **ret, struct mvm_error *err);

/* All kernels by name; free each one and the array. */
MVM_API int mvm_kernel_list(struct mvm *mvm, struct mvm_kernel ***ret, size_t *ret_n,
			    struct mvm_error *err);

/* Forget a kernel.  Revisions that were built with it keep their copy. */
MVM_API int mvm_kernel_remove(struct mvm *mvm, const char *name, struct mvm_error *err);

#endif
