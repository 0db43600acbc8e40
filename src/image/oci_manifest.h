/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_OCI_MANIFEST_H
#define IMAGE_OCI_MANIFEST_H

/*
 * The JSON documents of OCI and Docker images, from text to structs.
 *
 * Everything is bounded: documents by OCI_JSON_MAX, lists as said below.  A fault in a
 * document is -EBADMSG; the text names file and key.  A fault of one entry of an index is noted
 * in that entry.
 *
 * Source: OCI image-spec v1.1: descriptor.md, image-index.md, manifest.md, config.md,
 * annotations.md; the Docker Image Specification v1.2.0 for manifest.json.
 */

#include <mvm/digest.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/own.h"
#include "base/str.h"

#define OCI_JSON_MAX	  ((size_t)4 << 20)
#define OCI_MANIFESTS_MAX 1024u
#define OCI_LAYERS_MAX	  256u

enum oci_media {
	OCI_MEDIA_OTHER, /* nothing that we read */
	OCI_MEDIA_INDEX, /* OCI index or Docker manifest list */
	OCI_MEDIA_MANIFEST,
	OCI_MEDIA_CONFIG,
	OCI_MEDIA_LAYER,
};

/* A reference to another document or blob.  Texts are NULL where they are missing or empty. */
struct oci_descriptor {
	enum oci_media media; /* OCI_MEDIA_OTHER: an artifact, too */
	char *media_type;     /* as written */
	char *artifact_type;  /* NULL: not given */
	struct mvm_digest digest;
	uint64_t size;
	char *os, *arch, *variant; /* of the platform; unknown */
	char *ref_name;		   /* "org.opencontainers.image.ref.name", usually the tag */
	char *image_name;	   /* "io.containerd.image.name", with registry and tag */
	char *problem;		   /* the entry's fault; the index stays usable ... */
	int problem_code;	   /* ... until it is chosen; a negative errno */
	bool meant;		   /* free for oci_resolve.choose.h */
	bool asked;		   /* free for oci_resolve.c */
};

/* An index or a manifest list. */
struct oci_index {
	struct oci_descriptor *manifests;
	size_t n;
};
void oci_index_done(struct oci_index *x);
DEFINE_AUTO_DONE(oci_index, oci_index_done)

struct oci_manifest {
	struct oci_descriptor config;
	struct oci_descriptor *layers; /* lowest first */
	size_t n;
};
void oci_manifest_done(struct oci_manifest *m);
DEFINE_AUTO_DONE(oci_manifest, oci_manifest_done)

/* How to run the image, and the digests of its layers. */
struct oci_config {
	char *os, *arch, *variant; /* NULL: unknown */
	struct strv command;	   /* entrypoint and cmd */
	struct strv env;	   /* "NAME=value" */
	char *workdir;		   /* absolute; NULL: not given */
	char *user;		   /* NULL: not given */
	unsigned stop_signal;	   /* 0: not given */
	struct strv notes;	   /* unused settings and the reason, for the user */
	struct mvm_digest *diff_ids;
	size_t n;
};
void oci_config_done(struct oci_config *c);
DEFINE_AUTO_DONE(oci_config, oci_config_done)

/* One image in the manifest.json of `docker save`: names of files in the archive. */
struct oci_saved {
	char *config;
	struct strv tags, layers;
};
struct oci_saved_list {
	struct oci_saved *images;
	size_t n;
};
void oci_saved_list_done(struct oci_saved_list *l);
DEFINE_AUTO_DONE(oci_saved_list, oci_saved_list_done)

/*
 * Parse a document.
 *
 *   name  for errors
 *   ret   done with the function above; set on success only
 *
 * Returns 0; -EBADMSG, -EOPNOTSUPP (a digest that is not SHA-256), -EFBIG or -ENOMEM.
 */
int oci_index_parse(const char *text, size_t len, const char *name, struct oci_index *ret,
		    struct mvm_error *err);
int oci_manifest_parse(const char *text, size_t len, const char *name, struct oci_manifest *ret,
		       struct mvm_error *err);
/* The manifest of an artifact that holds one file, whatever its media types say.  -EINVAL: it is a
 * container image, or has several files or none.  ret: only its digest and size are set. */
int oci_file_parse(const char *text, size_t len, const char *name, struct oci_descriptor *ret,
		   struct mvm_error *err);
int oci_config_parse(const char *text, size_t len, const char *name, struct oci_config *ret,
		     struct mvm_error *err);
int oci_saved_parse(const char *text, size_t len, const char *name, struct oci_saved_list *ret,
		    struct mvm_error *err);

#endif
