/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_MODULE_H
#define IMAGE_MODULE_H

/*
 * Kernel modules: which ones a guest needs, and in which order they load.
 *
 * Debian's packages carry no modules.dep (the target host makes it), so mvm reads the dependencies
 * from the modules themselves: the section .modinfo holds "key=value" texts.  Module names treat
 * "-" and "_" as equal; mvm always writes "_".
 */

#include <mvm/digest.h>

#include "base/error.h"
#include "base/str.h"

#define MODULE_NAME_SIZE 64u

struct module {
	char name[MODULE_NAME_SIZE]; /* letters, digits and "_" */
	char *path;		     /* in the source */
	struct strv depends;	     /* names of modules */
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
 *   path  in the source; gives the name of a module that does not state its own
 *
 * Returns 0, -EBADMSG (no module, or one with an impossible name), -EFBIG (too many) or -ENOMEM.
 */
int module_add(struct module_list *l, const void *data, size_t len, const char *path,
	       struct mvm_error *err);

/*
 * Add the modules of a modules.dep.  Each line "PATH: PATH PATH ..." names a module and its
 * dependencies.
 *
 *   text  as read, len bytes and a NUL; overwritten
 *
 * Errors as module_add, -EBADMSG also for lines of another form.
 * Source: modules.dep(5).
 */
int module_read_dep(struct module_list *l, char *text, size_t len, struct mvm_error *err);

/* Is this the path of a module, compressed or not? */
bool module_is_path(const char *path);

/*
 * Choose the modules that a guest needs, in load order: ext4, virtio's transports and devices,
 * vsock, overlay, and their dependencies.  A module that is missing in the list counts as built in.
 *
 *   ret   pointers into l, the array the caller's
 *
 * Returns 0; -EBADMSG (a needed module depends on a missing one), -EFBIG (a chain of more than 64
 * dependencies), -ENOMEM.
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
