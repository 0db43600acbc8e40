/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_TRUST_H
#define STORE_TRUST_H

/*
 * Check a revision's files against its checksums.json, without reading them at every start.
 *
 * The file `verified` in the revision's folder lists the files that were read and are sound, one a
 * line: mark, digest, path.  The mark of a sealed file (base/seal.h) is its seal, of another file
 * its identity (file_identity()).  A start compares marks.  It reads only files whose mark has
 * changed, and records those that are sound nevertheless, for example after a copy of the data
 * folder, or an unsealed blob that another revision shares.
 *
 * A line with a seal says that files with this seal have this digest.  That stays true whatever
 * happens to the file, so a line goes on to the revision's next folder.  Only files that were read
 * after they were sealed get such a line.
 *
 * `verified` is a cache: if it is missing or damaged, a start reads every file again.
 */

#include <mvm/progress.h>
#include <stdbool.h>

#include "store/revision.h"

#define STORE_VERIFIED "verified"

struct trust {
	struct store *store;		     /* has tmp/, to write `verified`; NULL: do not write */
	const struct mvm_progress *progress; /* a step for each large file; may be NULL */
	const char *id;			     /* of the template, for those steps */
	const char *only; /* a file's path, such as "snapshot/mem.bin"; NULL: see `all` */
	bool all;	  /* read every file, also those in `verified`, and the snapshot's too */
};

/*
 * Check a revision's files, except the snapshot's, which start_decide() checks.
 *
 * Returns 0; -EBADMSG when a file is missing or differs from the list; -ECANCELED; or -errno.  A
 * failure to write `verified` is no error.
 * After a crash `verified` is the old file or the new one.  Cost: one stat(2) for each file.
 */
int store_trust(int dir_fd, const struct checksums *sums, const struct trust *how,
		struct mvm_error *err);

/*
 * Find a file that was edited, replaced or copied: it is younger than checksums.json, which is
 * written last, or its identity differs from the one in `verified`.  This reads no file, so it
 * misses an edit that hides its time.
 *
 * Returns the path of the first such file, owned by sums, or NULL.
 */
const char *store_trust_changed(int dir_fd, const struct checksums *sums);

/* Is this file sealed, and has `verified` its seal with the digest of checksums.json? */
bool store_trust_sealed(int dir_fd, const struct checksums *sums, const char *path);

/*
 * Write `verified` of a staged revision, whose checksums.json is complete.
 *
 *   from_fd  the folder that was staged again; its lines about sealed files go on
 *   hashed   a prefix of paths.  The caller has hashed these files since they were sealed.  NULL:
 *            none
 *
 * A failure does no harm: the next start reads the files.
 */
void store_trust_stage(int from_fd, int staged_fd, const char *hashed);

/* Remove `verified` after damage was found, so that no start relies on it. */
void store_distrust(int dir_fd);

#endif
