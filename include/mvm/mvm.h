/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_MVM_H
#define MVM_MVM_H

/*
 * libmvm: microVM templates.
 *
 * Every program starts with a context, which stands for one data folder:
 *
 *	struct mvm_error err;
 *	struct mvm *mvm;
 *	if (mvm_open(NULL, &mvm, &err) < 0)
 *		fprintf(stderr, "%s\n", err.text);
 *	...
 *	mvm_close(mvm);
 *
 * One thread at a time may use a context.  Different contexts may be used at the same time, also
 * for one folder and in different processes.  The library never prints, never exits,
 * changes no signal dispositions and keeps no global state.  doc/threading.md has more on threads,
 * signals, fork and lifetimes; mvm/struct.h says how structs grow.
 */

#include <mvm/error.h>
#include <mvm/visibility.h>

struct mvm;

/* The version of these headers; mvm_version() gives the version of the loaded library. */
#define MVM_VERSION_MAJOR 0
#define MVM_VERSION_MINOR 3
#define MVM_VERSION_PATCH 0

/*
 * Open a data folder, creating it (mode 0700) if it is missing.
 *
 *   data_dir  NULL: MVM_DATA_DIR if set and not empty, else $HOME/.mvm
 *
 * mvm removes files under its own names in the data folder, so it refuses the folders of others: a
 * folder that is not empty and has no marker (mvm-data.json), `/`, the caller's home folders, roots
 * of file systems and, for root, a path through a link or through a folder that another user may
 * change.  doc/data-folder.md has all rules.
 *
 * Waits for no lock and starts no program, so nothing can cancel it.  It removes what killed
 * commands have left in tmp/, else it costs about ten system calls.
 *
 * Errors: -EACCES, -EROFS, -ENOSPC with the path; -EPERM when the folder is refused, belongs to
 * another user or others may write to it; -EOPNOTSUPP when a newer mvm made it; -EBADMSG when its
 * marker is damaged.
 */
MVM_API int mvm_open(const char *data_dir, struct mvm **ret, struct mvm_error *err);

MVM_API void mvm_close(struct mvm *mvm); /* NULL is fine */

/* The library's version, "0.3.0".  Static. */
MVM_API const char *mvm_version(void);

#endif
