/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEMPLATE_CHUNK_LISTS_H
#define TEMPLATE_CHUNK_LISTS_H

/*
 * Which chunks the files of local revisions have.
 *
 * cache/chunks/<digest of a file> is a chunk index of that one file.  A pull, a push and an export
 * leave it, as they have the list at hand; otherwise a pull makes it once.  Only a list's chunks
 * and sizes count; its blob may be none.  A wrong list costs a fetch: who takes a chunk compares
 * its digest.
 */

#include "artifact/assembly.h"
#include "start/context.h"

/* Keep the lists of an index's files, but for small ones.  A failure costs time later, no more.
 * fds: -1 for those whose list may be wrong; NULL: all are right. */
void chunk_lists_keep(struct store *s, const struct chunk_index *index, const int *fds);

/*
 * Take missing chunks from the files of local revisions that have the same names: the template's
 * own revisions first, the current one before the others.
 *
 *   id        the template; need not exist
 *   ret_bytes grows by the bytes that were taken
 *
 * Errors: -ECANCELED, those of writing.  What cannot be read has no chunks.
 */
int chunk_lists_take(struct mvm *mvm, const char *id, struct assembly *a,
		     struct progress_step *step, uint64_t *ret_bytes, struct mvm_error *err);

#endif
