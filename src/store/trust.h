/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_TRUST_H
#define STORE_TRUST_H

/*
 * Are a revision's files those that its checksums.json lists, without reading them at every start?
 *
 * A file that was read and is sound is remembered by its identity (file_identity()) in the file
 * `verified` of the revision's folder, with a line for each: identity, digest, path.  A start looks
 * at the files only; it reads the ones that are not as remembered, and remembers those that are
 * sound after all: a copy of the data folder, say, or a blob that another revision shares.
 *
 * The memory of it is a cache: without it, or with one that is damaged, everything is read again.
 */

#include <mvm/progress.h>
#include <stdbool.h>

#include "store/revision.h"

#define STORE_VERIFIED "verified"

struct trust {
	struct store *store;		     /* remembers; NULL: nothing is remembered */
	const struct mvm_progress *progress; /* a step for each large file; may be NULL */
	const char *id;			     /* of the template, for those steps */
	const char *only; /* one file of the revision, such as "snapshot/mem.bin"; NULL: as below */
	bool all;	  /* read every file, whatever is remembered, and the snapshot's too */
};

/*
 * Check a revision's files but the snapshot's, which start_decide() checks.
 *
 * Returns 0; -EBADMSG when one is missing or not what the list says; -ECANCELED; or -errno.  That
 * nothing can be remembered is no failure.
 * After a crash `verified` is the old one or the new one.  Cost: one stat(2) for each file.
 */
int store_trust(int dir_fd, const struct checksums *sums, const struct trust *how,
		struct mvm_error *err);

/*
 * Find a file that was edited, replaced or copied: it is younger than checksums.json, which is
 * written last, or another one than was read last.  This reads none of them, so it misses whoever
 * knows how to hide.
 *
 * Returns the first one's path, of sums, or NULL.
 */
const char *store_trust_changed(int dir_fd, const struct checksums *sums);

/* Damage was found: forget what is remembered of the revision, so that no start takes its word. */
void store_distrust(int dir_fd);

#endif
