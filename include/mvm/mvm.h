/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_MVM_H
#define MVM_MVM_H

/*
 * libmvm: microVM templates.
 *
 * Everything starts with a context, which stands for one data folder:
 *
 *	struct mvm_error err;
 *	struct mvm *mvm;
 *	if (mvm_open(NULL, &mvm, &err) < 0)
 *		fprintf(stderr, "%s\n", err.text);
 *	...
 *	mvm_close(mvm);
 *
 * A context may be used by one thread at a time; different contexts, also of one folder and also
 * in different processes, may be used at the same time.  The library never prints, never exits,
 * changes no signal dispositions and keeps no global state.
 */

#include <mvm/error.h>
#include <mvm/visibility.h>

struct mvm;

/*
 * Open a data folder, creating it (mode 0700) if it is missing.
 *
 *   data_dir  NULL: MVM_DATA_DIR if set and not empty, else $HOME/.mvm
 *
 * Errors: -EACCES, -EROFS, -ENOSPC with the path; -EPERM when others may write to the folder.
 */
MVM_API int mvm_open(const char *data_dir, struct mvm **ret, struct mvm_error *err);

MVM_API void mvm_close(struct mvm *mvm); /* NULL is fine */

/* The library's version, "0.1.0".  Static. */
MVM_API const char *mvm_version(void);

#endif
