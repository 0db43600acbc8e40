/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_MODULE_TREE_H
#define IMAGE_MODULE_TREE_H

/*
 * Take the modules that a guest needs from a folder like lib/modules.  The result looks like that
 * of kernel_import() for a package.  The dependencies come from modules.dep if it exists (Source:
 * modules.dep(5)), else from the modules themselves.
 *
 * mvm follows links, since Nix puts such folders together from links, but never out of the folder
 * that the caller names.
 */

#include "image/kernel.h"

/*
 * Take the modules for a kernel that was imported.
 *
 *   tree_fd      the folder that holds one folder per kernel release; borrowed
 *   tree_name    for messages
 *   inside       absolute path, without a slash at its end, that nothing may lead out of
 *   dest_dir_fd  where kernel_import() put the kernel; gets "modules/"
 *   info         its version chooses the release, and an empty one is filled in; n_modules and
 *                modules are set
 *
 * Returns 0; -EINVAL (no modules of that release), -EBADMSG (damaged, or a module that a needed one
 * depends on is missing), -EACCES (a link leads out), -EFBIG, -ENOMEM or errno.
 */
int module_tree_import(int tree_fd, const char *tree_name, const char *inside, int dest_dir_fd,
		       struct kernel_info *info, struct mvm_error *err);

/* Check that an open file lies in a folder.  name: for messages.  Returns 0, -EACCES or -errno. */
int module_tree_inside(int fd, const char *inside, const char *name, struct mvm_error *err);

#endif
