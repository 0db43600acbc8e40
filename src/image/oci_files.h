/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_OCI_FILES_H
#define IMAGE_OCI_FILES_H

/* The files of an image, in a folder or in an uncompressed tar. */

#include <mvm/digest.h>
#include <stdbool.h>
#include <stdint.h>

#include "image/oci_archive.h"

struct oci_files {
	char *path;		     /* of the folder or archive, for messages */
	int fd;			     /* of that folder or archive */
	struct oci_archive *archive; /* NULL: a folder */
};
#define OCI_FILES_NONE                                                                             \
	{                                                                                          \
		.fd = -1                                                                           \
	}
void oci_files_done(struct oci_files *f);
DEFINE_AUTO_DONE(oci_files, oci_files_done)

/* path: copied.  Errors as oci_open(). */
int oci_files_open(const char *path, bool is_archive, struct oci_files *ret, struct mvm_error *err);

/* One file.  oci_file_close() closes the fd unless it is the archive's own. */
struct oci_file {
	int fd;
	uint64_t offset, size;
};
void oci_file_close(const struct oci_files *f, struct oci_file *file);

/* Open a file.  name: a relative path; in a folder, links are not followed.  -ENOENT and others,
 * with a text. */
int oci_file_open(const struct oci_files *f, const char *name, struct oci_file *ret,
		  struct mvm_error *err);

/* Read a whole file of at most max bytes.  ret: NUL-terminated, the caller's. */
int oci_file_read(const struct oci_files *f, const char *name, size_t max, char **ret,
		  size_t *ret_len, struct mvm_error *err);

/* SHA-256 of an open file. */
int oci_file_digest(const struct oci_files *f, const struct oci_file *file, const char *name,
		    struct mvm_digest *ret, struct mvm_error *err);

#endif
