/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_MARKER_H
#define STORE_MARKER_H

/*
 * The marker in a data folder, mvm-data.json: {"format": 1}.
 *
 * The first command that finds the folder empty writes the marker in place.  All writers write the
 * same bytes, so two first commands at once do no harm.  A killed command leaves an empty folder or
 * an empty marker, which the next command completes.
 *
 * Earlier versions wrote no marker.  A folder without a marker counts as theirs under two
 * conditions.  First, it has only folders that mvm makes, each owned by the caller and closed to
 * all others (mode 0700; tmp/ or cache/ of a project hardly have that).  Second, either one of them
 * holds a file that only mvm makes (store/proof.h), or there are at least two, all empty, tmp/
 * among them, as a read-only command used to leave them.
 */

#include "base/error.h"

#define MARKER_NAME	    "mvm-data.json"
#define MARKER_FORMAT	    1u
#define MARKER_FOREIGN_SIZE 64

/*
 * Is this a data folder?
 *
 *   ret_foreign  on -EPERM the name of a foreign file in the folder
 *
 * Returns 1: it has a marker; 0: it has none and may get one, because it is empty or clearly a data
 * folder; -EPERM without a sentence: it is not.  -EOPNOTSUPP, -EBADMSG and others with a sentence.
 */
int marker_check(int fd, char ret_foreign[MARKER_FOREIGN_SIZE], struct mvm_error *err);

/* Write the marker and sync it to disk.  0; -EMLINK when the file has a second hard link, and is
 * left alone; or -errno. */
int marker_write(int fd);

#endif
