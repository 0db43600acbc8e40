/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_UNPACK_H
#define IMAGE_UNPACK_H

/*
 * What tar and kernel sources share of libarchive.
 *
 * Only the formats that are needed are named, never "all": a static program would otherwise carry
 * readers for XML, CAB, RAR and what they depend on.  File names are taken as bytes, which
 * libarchive does as long as nobody calls setlocale(3) for LC_CTYPE.
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
 *   any  else gzip and zstd only, as layers have
 */
int unpack_filter(const void *head, size_t len, bool any);

/*
 * Open an archive whose format is set.  It decompresses once, or not at all.
 *
 * libarchive by itself would look for further compressions below the first, for as long as there
 * are any: a megabyte of gzip inside gzip keeps it at work for hours before it has given out one
 * byte.  The memory of each filter is bounded (unlzma.h).
 *
 *   filter  from unpack_filter()
 *   read    gives the bytes; takes arg, which must outlive the archive
 *
 * Returns what archive_read_open() returns.
 */
int unpack_open_archive(struct archive *a, int filter, archive_read_callback *read, void *arg);

/* Whether a call of libarchive succeeded.  Its warnings are about names that are not in the
 * locale's charset.  ARCHIVE_RETRY lies between ARCHIVE_WARN and ARCHIVE_OK, but is a failure: a
 * wrong checksum. */
static inline bool unpack_went_well(int r)
{
	return r == ARCHIVE_OK || r == ARCHIVE_WARN;
}

/* How much the archives of one source may unpack to, together. */
struct unpack_budget {
	uint64_t limit, used;
	const char *reason; /* of the error that says so, static; NULL: "image-too-large" */
};

/*
 * The limit for archives of so many bytes, unless somebody says what it is to be: 64 GiB, and not
 * more than 256 times their size or, if that is more, 1 GiB.  Images compress three- to tenfold;
 * what goes beyond is a bomb, or a file of zeros without a map of its holes.
 */
uint64_t unpack_limit(uint64_t packed_bytes);

/* Use some of the budget.  -EFBIG with limit and reason, then nothing is used; the caller says of
 * what archive. */
int unpack_charge(struct unpack_budget *budget, uint64_t bytes, struct mvm_error *err);

/*
 * Describe the failure of the last call on a: "'<name>' is damaged: <libarchive's words>".
 * Returns -EBADMSG; -EFBIG (needs too much memory), -ENOMEM, or the errno of a failed read where it
 * was one.
 */
int unpack_failed(struct archive *a, const char *name, struct mvm_error *err);

/*
 * The rest of the current entry of a in memory.
 *
 *   max  -EFBIG beyond
 *   ret  NUL-terminated, the caller's
 */
int unpack_entry(struct archive *a, const char *name, size_t max, char **ret, size_t *ret_len,
		 struct mvm_error *err);

/* Decompress a buffer; one that is not compressed comes out as it is.  Errors as above. */
int unpack_buf(const void *data, size_t len, const char *name, size_t max, char **ret,
	       size_t *ret_len, struct mvm_error *err);

#endif
