/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_UNPACK_H
#define IMAGE_UNPACK_H

/*
 * The use of libarchive that tar and kernel sources share.
 *
 * mvm names the formats that it needs, never "all": a static program would otherwise carry readers
 * for XML, CAB and RAR, and their libraries.  libarchive takes file names as bytes, as long as
 * nobody calls setlocale(3) for LC_CTYPE.
 */

#include <archive.h>
#include <archive_entry.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/own.h"

void unpack_close(struct archive *a);
DEFINE_AUTO(archive, unpack_close)

#define UNPACK_HEAD_BYTES 512u /* a whole header of a tar, which may look like a compression */

/*
 * Tell from the first bytes of a file how it is compressed: ARCHIVE_FILTER_GZIP, _BZIP2, _XZ,
 * _LZMA, _ZSTD, _LZ4 or _NONE.
 *
 *   any  true: all of these; false: gzip and zstd only, as layers have
 */
int unpack_filter(const void *head, size_t len, bool any);

/*
 * Open an archive whose format is set.  It decompresses once, or not at all.
 *
 * Left alone, libarchive would look for further compressions below the first until it finds none: a
 * megabyte of gzip inside gzip keeps it busy for hours before it returns one byte.  The memory of
 * each filter is bounded (unlzma.h, unzstd.h).
 *
 *   filter  from unpack_filter()
 *   read    gives the bytes; takes arg, which must outlive the archive
 *
 * Returns the result of archive_read_open().
 */
int unpack_open_archive(struct archive *a, int filter, archive_read_callback *read, void *arg);

/* Whether a call of libarchive succeeded.  It warns of names that are not in the locale's
 * charset.  ARCHIVE_RETRY lies between ARCHIVE_WARN and ARCHIVE_OK, but is a failure: a
 * wrong checksum. */
static inline bool unpack_went_well(int r)
{
	return r == ARCHIVE_OK || r == ARCHIVE_WARN;
}

/* How much the archives of one source may unpack to, together. */
struct unpack_budget {
	uint64_t limit, used;
	const char *reason; /* of the error; static; NULL: "image-too-large" */
};

/*
 * The default limit for archives of a size: 256 times the size, but at least 1 GiB and at most
 * 64 GiB.  Images compress three- to tenfold.  An archive beyond the limit is a bomb, or a file of
 * zeros without a map of its holes.
 */
uint64_t unpack_limit(uint64_t packed_bytes);

/* Use some of the budget.  -EFBIG with limit and reason; then nothing is used, and the caller
 * adds the archive's name. */
int unpack_charge(struct unpack_budget *budget, uint64_t bytes, struct mvm_error *err);

/*
 * Describe the failure of the last call on a: "'<name>' is damaged: <libarchive's words>".
 * Returns -EBADMSG; -EFBIG (needs too much memory), -ENOMEM, or the errno of a failed read.
 */
int unpack_failed(struct archive *a, const char *name, struct mvm_error *err);

/*
 * Read the rest of the current entry of an archive into memory.
 *
 *   max  -EFBIG beyond
 *   ret  NUL-terminated, the caller's
 */
int unpack_entry(struct archive *a, const char *name, size_t max, char **ret, size_t *ret_len,
		 struct mvm_error *err);

/* Decompress a buffer.  An uncompressed buffer comes out unchanged.  Errors as unpack_entry(). */
int unpack_buf(const void *data, size_t len, const char *name, size_t max, char **ret,
	       size_t *ret_len, struct mvm_error *err);

#endif
