/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ARTIFACT_DOCUMENT_H
#define ARTIFACT_DOCUMENT_H

/*
 * The manifest of an artifact: an OCI image manifest whose layers are the chunk index and then the
 * index's blobs, in its order.
 *
 * Source: OCI image-spec v1.1, manifest.md and image-layout.md.
 */

#include "artifact/index.h"
#include "codec/sha256.h"

#define ARTIFACT_MANIFEST_TYPE "application/vnd.oci.image.manifest.v1+json"
#define ARTIFACT_CONFIG_TYPE   "application/vnd.mvm.template.config.v1+json"
#define ARTIFACT_INDEX_TYPE    "application/vnd.mvm.chunkindex.v1"
#define ARTIFACT_PACKED_TYPE   "application/vnd.mvm.file.v1+zstd"
#define ARTIFACT_RAW_TYPE      "application/vnd.mvm.file.v1"
#define ARTIFACT_LIST_TYPE     "application/vnd.oci.image.index.v1+json"

#define ARTIFACT_REF_NAME "org.opencontainers.image.ref.name"

#define ARTIFACT_MANIFEST_MAX ((size_t)1 << 20)
#define ARTIFACT_CONFIG_MAX   ((size_t)1 << 20)

struct artifact_manifest {
	struct index_part config, index;
	struct index_part blobs[INDEX_MAX_PARTS]; /* of the files */
	uint32_t n_blobs;
};

/* The manifest's text, always the same for the same blobs; free(3) it. */
int artifact_manifest_format(const struct index_part *config, const struct index_part *index,
			     const struct chunk_index *x, char **ret, struct mvm_error *err);

/*
 * Read a manifest from anywhere.
 *
 *   name  of the document, for errors
 *
 * Returns 0, -EBADMSG, -EOPNOTSUPP (no artifact of mvm's), -EFBIG or -ENOMEM.
 */
int artifact_manifest_parse(const char *text, size_t len, const char *name,
			    struct artifact_manifest *ret, struct mvm_error *err);

/* Does the index name the manifest's blobs?  0 or -EBADMSG. */
int artifact_manifest_check(const struct artifact_manifest *m, const struct chunk_index *x,
			    struct mvm_error *err);

/* The index.json of a layout with one manifest, and that of its signature or NULL.  tag: the
 * manifest's name, or NULL.  free(3) *ret. */
int artifact_layout_format(const struct index_part *manifest, const char *tag,
			   const struct index_part *signature, char **ret, struct mvm_error *err);

/* The tag of the list of a manifest's signatures, in registries without an API for them.  Source:
 * OCI distribution-spec v1.1, "Referrers Tag Schema". */
#define ARTIFACT_LIST_TAG_SIZE DIGEST_TEXT_SIZE
void artifact_list_tag(const struct mvm_digest *manifest, char ret[ARTIFACT_LIST_TAG_SIZE]);

/* The list for that tag; old: the text that is there, or NULL.  1 with the new text, 0 if the
 * signature is listed already, or -errno. */
int artifact_referrers_format(const char *old, size_t old_len, const struct index_part *signature,
			      char **ret, struct mvm_error *err);

#endif
