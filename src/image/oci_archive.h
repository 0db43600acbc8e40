/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_OCI_ARCHIVE_H
#define IMAGE_OCI_ARCHIVE_H

/*
 * An index of the members of an uncompressed tar, so that an image archive's members can be read in
 * any order without unpacking it.  The names that matter in such archives are short and plain.  The
 * index has only files and the links between them.
 *
 * Source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Extended Header"; the base-256
 * numbers and 'L' names of GNU tar.
 */

#include <stdint.h>

#include "base/error.h"
#include "base/own.h"

#define OCI_ARCHIVE_MEMBERS_MAX 65536u

struct oci_archive;

/*
 * Read the headers of an archive.
 *
 *   fd  a regular file; borrowed for the archive's life
 *
 * Returns 0; -EBADMSG (cut or damaged), -EOPNOTSUPP (compressed), -EFBIG (more than
 * OCI_ARCHIVE_MEMBERS_MAX), -ENOMEM or errno.  Reads headers only.
 */
int oci_archive_open(int fd, const char *name, struct oci_archive **ret, struct mvm_error *err);
void oci_archive_free(struct oci_archive *a);
DEFINE_AUTO(oci_archive, oci_archive_free)

/* Find a file; links between members are followed, eight at most.  The last member of a name
 * counts.  Returns 0, -ENOENT or -ELOOP. */
int oci_archive_find(const struct oci_archive *a, const char *name, uint64_t *ret_offset,
		     uint64_t *ret_size);

#endif
