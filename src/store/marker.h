/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_MARKER_H
#define STORE_MARKER_H

/*
 * The marker in a data folder, mvm-data.json: {"format": 1}.
 *
 * It is written in place, by whoever finds the folder empty: all writers write the same bytes, so
 * two first commands at once do no harm, and one that is killed leaves an empty folder or an empty
 * marker, which the next command completes.
 *
 * Earlier versions wrote none.  A folder without one is plainly theirs when nothing but the
 * folders that mvm makes lies in it, each of the caller's own and closed to all others (mvm makes
 * them with mode 0700; tmp/ or cache/ of a project hardly have it), and either one of them holds a
 * thing that only mvm makes (store/proof.h), or there are at least two and all of them are empty,
 * tmp/ among them: all that a command that only reads has ever left.
 */

#include "base/error.h"

#define MARKER_NAME	    "mvm-data.json"
#define MARKER_FORMAT	    1u
#define MARKER_FOREIGN_SIZE 64

/*
 * Is this a data folder?
 *
 *   ret_foreign  on -EPERM the name of something in the folder
 *
 * Returns 1: it has a marker; 0: it has none and may get one, since it is empty or plainly a data
 * folder; -EPERM without a sentence: neither.  -EOPNOTSUPP, -EBADMSG and others with a sentence.
 */
int marker_check(int fd, char ret_foreign[MARKER_FOREIGN_SIZE], struct mvm_error *err);

/* Write the marker, on disk when it returns.  0; -EMLINK when there is a file of that name with
 * another name as well, which is left alone; or -errno. */
int marker_write(int fd);

#endif
