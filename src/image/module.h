/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_MODULE_H
#define IMAGE_MODULE_H

/*
 * Kernel modules: which ones a guest needs, and in which order they load.
 *
 * Debian's packages carry no modules.dep (the target host makes it), so what depends on what is
 * read from the modules themselves: the section .modinfo holds "key=value" texts.  In names of
 * modules "-" and "_" are the same; here it is always "_".
 */

#include <mvm/digest.h>

#include "base/error.h"
#include "base/str.h"

#define MODULE_NAME_SIZE 64u

struct module {
	char name[MODULE_NAME_SIZE]; /* letters, digits and "_" */
	char *path;		     /* where the source has it */
	struct strv depends;	     /* names */
	unsigned mark;		     /* private to module_order() */
};

struct module_list {
	struct module *v;
	size_t n, cap;
};
void module_list_done(struct module_list *l);
DEFINE_AUTO_DONE(module_list, module_list_done)

/*
 * Read one module and add it to a list.
 *
 *   data  the uncompressed module
 *   path  in its source; the name follows from it where the module does not say
 *
 * Returns 0, -EBADMSG (no module, or one with an impossible name), -EFBIG (too many) or -ENOMEM.
 */
int module_add(struct module_list *l, const void *data, size_t len, const char *path,
	       struct mvm_error *err);

/*
 * Add one module by what modules.dep says of it.
 *
 *   path     "kernel/drivers/virtio/virtio_blk.ko.xz"; the name follows from it
 *   depends  paths of what it needs, separated by spaces
 *
 * Errors as module_add.
 */
int module_add_dep(struct module_list *l, const char *path, const char *depends,
		   struct mvm_error *err);

/* Is this the path of a module, compressed or not? */
bool module_is_path(const char *path);

/*
 * What a guest of mvm needs, in load order: ext4, virtio's transports and devices, vsock and
 * overlay, and what they depend on.  What is not in the list counts as built in.
 *
 *   ret   pointers into l, the array the caller's
 *
 * Returns 0; -EBADMSG (a needed module depends on one that is not there), -ENOMEM.
 */
int module_order(struct module_list *l, const struct module ***ret, size_t *ret_n,
		 struct mvm_error *err);

/*
 * Write the file "order" that names the modules of a folder in load order, and give the digest
 * that stands for them all (struct kernel_info).
 *
 *   digests  of the modules' files, in the same order
 */
int module_write_order(int dir_fd, const struct module *const *order,
		       const struct mvm_digest *digests, size_t n, struct mvm_digest *ret,
		       struct mvm_error *err);

#endif
