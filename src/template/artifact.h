/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEMPLATE_ARTIFACT_H
#define TEMPLATE_ARTIFACT_H

/* Revisions to artifacts, and artifacts to revisions. */

#include <mvm/artifact.h>

#include "artifact/layout.h"
#include "start/start.h"

/*
 * Write the blobs of a revision: its files, the chunk index, the configuration and the manifest.
 *
 *   s             keeps the lists of the files' chunks (template/chunk_lists.h)
 *   ret_manifest  digest and size of the manifest
 *   result        revision, digest, file_bytes and has_snapshot are set
 *
 * Errors: as mvm_template_export().
 */
int artifact_make(struct store *s, const struct revision *rev, bool image_only,
		  const struct blob_sink *sink, const struct mvm_progress *progress,
		  struct index_part *ret_manifest, struct mvm_artifact_result *result,
		  struct mvm_error *err);

/* Who signs. */
struct sign_with {
	const char *key; /* name of a pair of keys, or of the public key that `command` signs by */
	const char *command; /* a program that reads the bytes to sign and prints the signature */
};

/* May this revision be signed, and is there such a key?  0; -EPERM: with a snapshot that does not
 * run here, whose signature would make it run on hosts that trust the key; or as
 * signature_make(). */
int artifact_may_sign(struct store *s, const struct sign_with *with, const struct revision *rev,
		      bool image_only, struct mvm_error *err);

/* A signature's documents. */
struct signature {
	char *bundle, *manifest;
};
void signature_done(struct signature *s);
DEFINE_AUTO_DONE(signature, signature_done)

/* Sign a manifest.  Errors: -ENOENT (no such key), -EPERM, -EACCES (the program fails), -EBADMSG
 * (it prints no signature of this key), -ETIMEDOUT, -ECANCELED. */
int signature_make(struct store *s, const struct sign_with *with, const struct index_part *manifest,
		   const struct mvm_progress *progress, struct signature *ret,
		   struct mvm_error *err);

/* Sign a manifest by signature_make(), and write the signature's blobs.  ret: the signature's
 * manifest. */
int artifact_sign(struct store *s, const struct sign_with *with, const struct index_part *manifest,
		  const struct blob_sink *sink, const struct mvm_progress *progress,
		  struct index_part *ret, struct mvm_error *err);

/* attach.c: put a signature beside the manifest that it signs, of which only the digest counts: in
 * the registry's list of referrers, or else under the tag that stands in for it. */
struct session;
int signature_attach(struct session *s, const struct mvm_digest *subject,
		     const struct signature *signature, struct mvm_error *err);

/* Which trusted key has signed the artifact?  repository: it came from, or NULL.  1 with the key's
 * fingerprint, 0, or -errno. */
int artifact_signer(struct store *s, const struct artifact *a, const char *repository,
		    char ret[DIGEST_HEX_SIZE], struct mvm_error *err);

/* artifact_signer(), with the key's whole description. */
struct key_info;
int artifact_signing_key(struct store *s, const struct artifact *a, const char *repository,
			 struct key_info *ret, struct mvm_error *err);

/* A revision while its files come.  All are borrowed until `fill` returns. */
struct artifact_staged {
	int files_fd; /* folder with the artifact's files; those that are filled are empty */
	int view_fd;  /* folder with all others (template/publish.h, publish_view()) */
	const struct mvm_template_revision *rev; /* the artifact's configuration */
};

/* Settings of a receipt. */
struct artifact_receive {
	bool image_only, no_wait;
	const char *id; /* of the template */
	const char
		*signed_by; /* fingerprint of a trusted key that signed the artifact; NULL: none */
	/* Leave out a snapshot that is for none of these kinds of hosts.  NULL: take any. */
	const struct variant_key *keys;
	size_t n_keys;
	const char *revision; /* that it must be; NULL or "": any */
	/* Fill files as artifact_unpack_files() does, and count in result->moved_bytes and
	 * reused_bytes.  NULL: the artifact's blobs are all there. */
	int (*fill)(void *arg, const struct artifact *a, const int *fds,
		    struct mvm_artifact_result *result, struct mvm_error *err);
	/* Called before `fill` if a snapshot will come that may run here, with the revision as it
	 * will be.  NULL: nobody wants to know. */
	int (*staged)(void *arg, const struct artifact_staged *staged, struct mvm_error *err);
	void *arg;
};

/*
 * Unpack files of an artifact from its blobs.
 *
 *   fds        one for each file of its index, empty; -1: not this one
 *   what       for the step of the progress
 *   ret_moved  grows by the bytes of the blobs
 */
int artifact_unpack_files(const struct artifact *a, const int *fds, const char *what,
			  const struct mvm_progress *progress, uint64_t *ret_moved,
			  struct mvm_error *err);

/* Make an artifact the current revision of a template.  Errors: as mvm_template_import(). */
int artifact_receive(struct mvm *mvm, const struct artifact *a, const struct artifact_receive *how,
		     const struct mvm_progress *progress, struct mvm_artifact_result *result,
		     struct mvm_error *err);

/* Give a caller the result; ret may be NULL. */
void artifact_result_give(struct mvm_artifact_result *ret,
			  const struct mvm_artifact_result *result);

/* Names in a revision of the files that an artifact may have; ends with NULL. */
extern const char *const artifact_image_files[], *const artifact_snapshot_files[];
bool artifact_lists(const char *const *names, const char *name);

/*
 * The configuration of an artifact is the revision.json without what differs between hosts.
 *
 *   snapshot  with the snapshot, which the revision has
 *   ret       free(3) it
 */
int artifact_config_format(const struct mvm_template_revision *rev, const struct checksums *sums,
			   bool snapshot, char **ret, struct mvm_error *err);

/* Does a fact of a snapshot name the host of the capture, or tell where a file lies there? */
bool artifact_fact_is_local(const char *pair);

/* Is this the architecture of this host's guests?  0, or -EOPNOTSUPP.  -EBADMSG for a
 * configuration whose settings no template may have. */
int artifact_config_check(const struct mvm_template_revision *rev, struct mvm_error *err);

#endif
