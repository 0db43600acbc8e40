/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COPY_TAR_SPARSE_H
#define COPY_TAR_SPARSE_H

/*
 * The map of a sparse file in pax form, as GNU tar and bsdtar write it, in its three versions:
 *
 *   0.0  in pax records, GNU.sparse.offset and GNU.sparse.numbytes in turn
 *   0.1  in one record, GNU.sparse.map, with the numbers between commas
 *   1.0  in front of the contents: a count and then the numbers, a line each, in whole blocks
 *
 * Each has the file's size in a record too, and from 0.1 on its name, because the header's name is
 * made up.  Internal to the reader (tar_read.c).
 *
 * Source: the GNU tar manual, "Storing Sparse Files".
 */

#include "copy/tar.h"

/* Is this the key of such a record? */
bool tar_sparse_is_key(const char *key, size_t key_len);

/* Take a record, whose value is len bytes; keys that do not matter are ignored.  -EBADMSG,
 * -ENOMEM. */
int tar_sparse_take_record(struct tar_reader *r, const char *key, size_t key_len, const char *value,
			   size_t len, struct mvm_error *err);

/* The records are whole.  Returns 1 when blocks with the map follow, 0 when the map is whole, or
 * -EBADMSG. */
int tar_sparse_begin(struct tar_reader *r, struct mvm_error *err);

/* Take a block of the map.  Returns 1 when another follows, or as tar_sparse_begin(). */
int tar_sparse_take_block(struct tar_reader *r, const char block[TAR_BLOCK], struct mvm_error *err);

/* Forget the records of an entry. */
void tar_sparse_forget(struct tar_reader *r);

#endif
