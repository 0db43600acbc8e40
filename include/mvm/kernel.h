/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_KERNEL_H
#define MVM_KERNEL_H

/*
 * Guest kernels, for images that bring none.  A kernel is imported once from a Debian package, a
 * bzImage or an uncompressed ELF vmlinux, with the modules that a guest needs.
 */

#include <mvm/digest.h>
#include <mvm/error.h>
#include <mvm/mvm.h>
#include <mvm/progress.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Kernel features that a guest may need.  Later versions may know more. */
enum mvm_kernel_feature {
	MVM_KERNEL_VIRTIO_MMIO,
	MVM_KERNEL_VIRTIO_PCI,
	MVM_KERNEL_VIRTIO_BLK,
	MVM_KERNEL_VIRTIO_NET,
	MVM_KERNEL_VIRTIO_CONSOLE,
	MVM_KERNEL_VSOCK, /* over virtio */
	MVM_KERNEL_EXT4,
	MVM_KERNEL_OVERLAY,
	MVM_KERNEL_FEATURES,
};
#define MVM_KERNEL_FEATURES_MAX 64 /* leaves room for later versions */

enum mvm_kernel_has {
	MVM_KERNEL_UNKNOWN, /* the kernel came without its configuration */
	MVM_KERNEL_NO,
	MVM_KERNEL_MODULE, /* among the modules that guests get */
	MVM_KERNEL_BUILTIN,
};

/* "virtio_mmio", ...; "unknown", "no", "module", "builtin".  NULL: no such value. */
MVM_API const char *mvm_kernel_feature_name(unsigned feature);
MVM_API const char *mvm_kernel_has_name(unsigned has);

struct mvm_kernel {
	char *name;    /* for `kernel = "..."` in a template */
	char *version; /* release, "6.1.0-56-cloud-amd64"; "" when the file has none */
	char *added_at;
	struct mvm_digest vmlinux; /* of the uncompressed ELF */
	struct mvm_digest modules; /* of the modules and their order; zero without modules */
	uint64_t vmlinux_bytes;
	uint32_t n_modules;
	bool pvh;				   /* QEMU can boot it directly */
	uint8_t features[MVM_KERNEL_FEATURES_MAX]; /* enum mvm_kernel_has, by feature */
	char *problem; /* in a list: why its record cannot be read; then only name is set */
};
MVM_API void mvm_kernel_free(struct mvm_kernel *kernel);

/*
 * Import a kernel.
 *
 *   path   of a .deb, a bzImage (vmlinuz) or a vmlinux
 *   name   NULL: its version
 *   force  replace a kernel of that name; revisions built with the old one keep it
 *   progress  may stop it, between two files of a package; may be NULL
 *   ret    the added kernel, mvm_kernel_free() it; may be NULL
 *
 * Returns 1 if it was added, 0 if exactly this kernel had that name already.
 * Errors: -EINVAL (no kernel in that file), -EEXIST, -ENOENT and others for the file; -ECANCELED.
 * Unpacks the file, on this thread: a second or two, more from a slow disk.  After a crash the
 * kernel is whole or missing.
 */
MVM_API int mvm_kernel_add(struct mvm *mvm, const char *path, const char *name, bool force,
			   const struct mvm_progress *progress, struct mvm_kernel **ret,
			   struct mvm_error *err);

/*
 * Get Debian's kernel for cloud guests with apt, and import it.  This installs nothing, needs no
 * root, and leaves apt's own files alone.
 *
 *   name   NULL: its version
 *   force  replace a kernel of that name, even if it is the newest version
 *   ret    the kernel, mvm_kernel_free() it; may be NULL
 *
 * Returns 1 if it was added, 0 if the newest version had that name already; then nothing is
 * downloaded.
 * Errors: -EOPNOTSUPP (no apt, or it knows no such kernel), -EREMOTEIO with apt's words, and those
 * of mvm_kernel_add().
 */
MVM_API int mvm_kernel_fetch(struct mvm *mvm, const char *name, bool force,
			     const struct mvm_progress *progress, struct mvm_kernel **ret,
			     struct mvm_error *err);

/*
 * Get a kernel from a registry, and import it.
 *
 *   from   "reg.example/kernels/debian:6.1": an artifact with one file, which mvm_kernel_add()
 *          takes and, for example, `oras push` has put there; "docker://" before it is ignored.
 *          The registry's settings and credentials are those of images
 *   name   NULL: its version
 *   force  replace a kernel of that name
 *   ret    the kernel, mvm_kernel_free() it; may be NULL
 *
 * The file is compared with its digest before anything reads it.  It stays in the data folder until
 * the next prune, and is not downloaded again until then.  A kernel is not signed: a reference with
 * a digest names it for sure.
 *
 * Returns 1 if it was added, 0 if exactly this kernel had that name already.
 * Errors: those of mvm_kernel_add(); -EINVAL (no reference, or no artifact with one file), -ENOENT
 * (no such tag), -EBADMSG (other bytes than its digest says), -EFBIG (more than 1 GiB), -EACCES,
 * -EBUSY (too many requests), -EREMOTEIO and others of the registry.
 */
MVM_API int mvm_kernel_pull(struct mvm *mvm, const char *from, const char *name, bool force,
			    const struct mvm_progress *progress, struct mvm_kernel **ret,
			    struct mvm_error *err);

/*
 * Only download the package of mvm_kernel_fetch() into a folder, which is made if it is missing.
 *
 *   ret  the package's path; free(3) it
 *
 * Returns 1, or 0 if the folder had such a package, newest or not; then the network is not used.
 * Errors: -EOPNOTSUPP and -EREMOTEIO as of mvm_kernel_fetch(); -ENOSPC, -ECANCELED and others.
 * After a crash the package is whole or missing.
 */
MVM_API int mvm_kernel_download(const char *dir, const struct mvm_progress *progress, char **ret,
				struct mvm_error *err);

/* All kernels by name, damaged ones with their problem; mvm_kernel_list_free() the list.  Reads one
 * small file for each. */
MVM_API int mvm_kernel_list(struct mvm *mvm, struct mvm_kernel ***ret, size_t *ret_n,
			    struct mvm_error *err);
MVM_API void mvm_kernel_list_free(struct mvm_kernel **list, size_t n);

/* Forget a kernel, also a damaged one.  Revisions that were built with it keep their copy.  After a
 * crash the kernel is whole or gone.
 * Errors: -ENOENT, -EINVAL (no name of a kernel), -EEXIST (the folder has something that mvm did
 * not make). */
MVM_API int mvm_kernel_remove(struct mvm *mvm, const char *name, struct mvm_error *err);

#endif
