/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ARTIFACT_LAYOUT_H
#define ARTIFACT_LAYOUT_H

/*
 * Artifacts in OCI image layouts: written as a tar, read from a tar or a folder.
 *
 * Source: OCI image-spec v1.1, image-layout.md.
 */

#include "artifact/bundle.h"
#include "artifact/document.h"
#include "artifact/pack.h"
#include "image/oci_files.h"

/* ---- writing ---- */

struct layout_writer {
	int fd;			/* a regular file, empty before; borrowed */
	uint64_t at;		/* end of what is written */
	uint64_t began;		/* of the current blob, its header included */
	struct blob_list blobs; /* that are in the file */
	uint64_t blob_bytes;	/* of all of them */
};

int layout_begin(struct layout_writer *w, int fd, struct mvm_error *err);

/* Where pack_file() puts blobs.  A blob that is in the file already is left out. */
struct blob_sink layout_sink(struct layout_writer *w);

/* Write the index.json of one manifest, which is among the blobs, and the tar's end.  signature:
 * the manifest of a signature; NULL: none. */
int layout_end(struct layout_writer *w, const struct index_part *manifest, const char *tag,
	       const struct index_part *signature, struct mvm_error *err);

/* ---- reading ---- */

struct artifact {
	struct oci_files files;
	struct index_part manifest;
	struct artifact_manifest blobs;
	struct chunk_index index;
	char *config; /* NUL-terminated */
	size_t config_len;
	char *tag; /* in index.json; NULL: none */
	/* manifests that may be those of signatures */
	struct index_part signatures[SIGNATURES_MAX];
	uint32_t n_signatures;
	uint64_t signatures_bytes;
	bool too_many_signatures; /* some are not among them */
};
#define ARTIFACT_NONE                                                                              \
	{                                                                                          \
		.files = OCI_FILES_NONE                                                            \
	}
void artifact_done(struct artifact *a);
DEFINE_AUTO_DONE(artifact, artifact_done)

/*
 * Open an artifact, and read its manifest, configuration and index.  Each has its digest.
 *
 *   path  of a tar or folder
 *   tag   which of its artifacts; NULL: the only one
 *
 * Returns 0; -ENOENT (no such path, tag or blob), -EINVAL (several artifacts, no layout),
 * -EOPNOTSUPP (no template of mvm's, or a newer format), -EBADMSG, -EFBIG, -ENOMEM or errno.
 */
int artifact_open(const char *path, const char *tag, struct artifact *ret, struct mvm_error *err);

/* Open the artifact of a manifest whose documents are in a folder, as blobs/sha256/<hex>.  dir_fd:
 * borrowed.  name: for messages. */
int artifact_open_at(int dir_fd, const char *name, const struct index_part *manifest,
		     struct artifact *ret, struct mvm_error *err);

/* Add what may be manifests of signatures from an index, which a layout or a tag has. */
int artifact_add_signatures(struct artifact *a, const char *index, size_t len,
			    struct mvm_error *err);

/*
 * Find a signature of the artifact's manifest.
 *
 *   keys     that count
 *   ret_key  which one signed; set with 1
 *
 * Returns 1, 0 (none of these keys has signed it) or -ENOMEM.  A signature that cannot be read is
 * none.
 */
int artifact_find_signature(const struct artifact *a, const struct public_key *keys, size_t n_keys,
			    size_t *ret_key);

/* The bundles' blobs, of signatures whose manifests are there; at most SIGNATURES_MAX. */
size_t artifact_bundles(const struct artifact *a, struct index_part *ret);

/* unpack_file() of one of the artifact's files. */
int artifact_unpack(const struct artifact *a, const struct index_file *file, int to_fd,
		    struct progress_step *step, struct mvm_error *err);

#endif
