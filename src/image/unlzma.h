/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_UNLZMA_H
#define IMAGE_UNLZMA_H

/*
 * Decompress xz and lzma with a bound on memory, between a reader and libarchive.
 *
 * The packed file chooses how much memory the decompressor allocates: up to 4 GiB for one
 * dictionary.  libarchive has no bound for xz and lzma.  Each block of an xz file may choose anew,
 * so a look at the file's start is not enough.  liblzma enforces a limit.  zstd has a bound of the
 * same size (unzstd.h), gzip, bzip2 and lz4 need less.
 */

#include <archive.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/own.h"

#define UNLZMA_MEMORY_MAX ((uint64_t)129 << 20) /* a dictionary of 128 MiB; xz -9 takes half */

struct unlzma;

/*
 * Make a decompressor.
 *
 *   xz    true: xz; false: lzma, the older format
 *   read  gives the packed bytes; takes arg
 *
 * Returns NULL when out of memory.
 */
struct unlzma *unlzma_new(bool xz, archive_read_callback *read, void *arg);
void unlzma_free(struct unlzma *u);
DEFINE_AUTO(unlzma, unlzma_free)

/* The archive_read_callback of a struct unlzma.  Sets the archive's error: EFBIG for more memory
 * than the bound, EILSEQ for damage, ENOMEM. */
la_ssize_t unlzma_read(struct archive *a, void *unlzma, const void **ret);

#endif
