/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_UNZSTD_H
#define IMAGE_UNZSTD_H

/*
 * Decompress zstd between a reader and libarchive.
 *
 * libarchive's own filter reports a window over its bound, and data that end in their first block,
 * so late that it takes them for an empty file.
 */

#include <archive.h>

#include "base/own.h"

struct unzstd;

/* Make a decompressor.  read gives the packed bytes; takes arg.  NULL when out of memory. */
struct unzstd *unzstd_new(archive_read_callback *read, void *arg);
void unzstd_free(struct unzstd *u);
DEFINE_AUTO(unzstd, unzstd_free)

/* The archive_read_callback of a struct unzstd.  Sets the archive's error: EFBIG for a window of
 * more than 128 MiB, EILSEQ for damage, ENOMEM. */
la_ssize_t unzstd_read(struct archive *a, void *unzstd, const void **ret);

#endif
