/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_OCI_RESOLVE_H
#define IMAGE_OCI_RESOLVE_H

/*
 * From an index to the manifest of one platform, through a reader of blobs.  The blobs may lie in a
 * folder, in an archive or in a registry.
 */

#include "image/oci_choose.h"

#define OCI_NAME_SIZE 128u /* "blobs/sha256/<hex>" */

/* The path of a blob in an image layout. */
void oci_blob_name(const struct mvm_digest *digest, char ret[OCI_NAME_SIZE]);

/* The platform of the guests that this machine runs.  arch: as Go calls it; NULL: this
 * machine's. */
struct oci_platform oci_platform_here(const char *arch);

struct oci_reader {
	/*
	 * Read a document and check it against its descriptor's digest and size.
	 *
	 *   ret_name  its name for messages; set in every case
	 *   ret       the caller's
	 */
	int (*read)(void *arg, const struct oci_descriptor *d, char ret_name[OCI_NAME_SIZE],
		    char **ret, size_t *ret_len, struct mvm_error *err);
	void *arg;
	const char *path;     /* of the image, for messages */
	uint64_t asked_bytes; /* our own: bytes read to learn platforms */
};

/* Learn the platforms that the marked entries of an index do not tell, from their configurations.
 * Each manifest is read once.  A platform that cannot be read stays unknown. */
int oci_learn_platforms(struct oci_reader *reader, struct oci_index *index, struct mvm_error *err);

/*
 * Go from the marked entries of an index down to the manifest of a platform.
 *
 *   inner  the index is that of one image: of equally good entries the first counts
 *   ret    only digest, size and media are set
 *
 * Errors: -ENOENT (not for this platform), -EINVAL (several images fit), -EBADMSG, -EFBIG and those
 * of the reader.
 */
int oci_resolve(struct oci_reader *reader, struct oci_index *index,
		const struct oci_platform *platform, bool inner, struct oci_descriptor *ret,
		struct mvm_error *err);

#endif
