/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_ARTIFACT_H
#define MVM_ARTIFACT_H

/* Templates outside of a data folder: a revision as an artifact, which any OCI tool can copy. */

#include <mvm/error.h>
#include <mvm/mvm.h>
#include <mvm/progress.h>
#include <mvm/struct.h>
#include <mvm/template.h>
#include <mvm/visibility.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MVM_KEY_FINGERPRINT_SIZE 65 /* 64 hex digits and a NUL (mvm/key.h) */
#define MVM_ARTIFACT_DIGEST_SIZE 72 /* "sha256:", 64 hex digits and a NUL */

struct mvm_artifact_result {
	size_t size; /* MVM_ARTIFACT_RESULT_INIT sets it (mvm/struct.h) */
	char template_id[MVM_TEMPLATE_ID_SIZE];
	char revision[MVM_REVISION_SIZE];
	char digest[MVM_ARTIFACT_DIGEST_SIZE]; /* of the manifest */
	bool new_revision;		       /* import, pull: the revision was not here */
	bool has_snapshot;		       /* the artifact, or the imported revision, has one */
	bool new_snapshot;     /* import, pull: the snapshot came with the artifact */
	uint64_t file_bytes;   /* of the revision's files */
	uint64_t blob_bytes;   /* of the artifact's blobs */
	uint64_t reused_bytes; /* import, pull: of files that were here already, or of their
				* chunks */
	uint64_t moved_bytes;  /* of blobs, or ranges of them, that were pushed, pulled or read */
	/* import, pull: fingerprint of the trusted key that signed it, "" if none did */
	char signed_by[MVM_KEY_FINGERPRINT_SIZE];
	/* push: the tag has snapshots of this revision for so many kinds of hosts */
	size_t n_variants;
	/* pull: the snapshot was left out, as this and all others are for other kinds of hosts */
	bool snapshot_unfit;
};
#define MVM_ARTIFACT_RESULT_INIT MVM_STRUCT_INIT(struct mvm_artifact_result)

struct mvm_export_options {
	size_t size;	 /* MVM_EXPORT_OPTIONS_INIT sets it (mvm/struct.h) */
	bool image_only; /* leave the snapshot out */
	bool force;	 /* replace an existing file */
	const char *tag; /* in the file's index.json; NULL: the template's id */
	const char *key; /* name of the key to sign it with (mvm/key.h); NULL: no signature */
	const char *sign_command; /* as in struct mvm_sign_options */
};
#define MVM_EXPORT_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_export_options)

/*
 * Write a revision to a file: an OCI image layout as a tar.
 *
 *   ref       "ID" (its current revision) or "ID@REVISION"
 *   path      of the file, which appears when it is whole
 *   options   borrowed; NULL: all defaults
 *   progress  a step for the files; may be NULL
 *   ret       may be NULL
 *
 * The same revision with the same snapshot gives the same manifest on every host.  Each file is
 * compared with its checksum on the way.
 * Errors: -ENOENT, -EEXIST (the file is there), -EBADMSG (a file of the revision is damaged),
 * -EOPNOTSUPP (another program made the revision), -ECANCELED, -ENOSPC and others.
 */
MVM_API int mvm_template_export(struct mvm *mvm, const char *ref, const char *path,
				const struct mvm_export_options *options,
				const struct mvm_progress *progress,
				struct mvm_artifact_result *ret, struct mvm_error *err);

struct mvm_import_options {
	size_t size;	 /* MVM_IMPORT_OPTIONS_INIT sets it (mvm/struct.h) */
	bool image_only; /* leave the snapshot out */
	bool no_wait;	 /* -EBUSY instead of waiting for the template's lock */
	const char *tag; /* which of the file's artifacts; NULL: the only one */
	const char *id;	 /* of the template; NULL: the artifact's tag */
};
#define MVM_IMPORT_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_import_options)

/*
 * Read a revision from a file that mvm_template_export() wrote, or from an OCI layout's folder, and
 * make it current.
 *
 *   path      of the file or folder
 *   options   borrowed; NULL: all defaults
 *   progress  a step for the files; may be NULL
 *   ret       may be NULL
 *
 * A template that does not exist is made, with the revision's settings.  Every chunk, file and
 * document is compared with its digest, and the revision with its name, before anything is
 * published.  After a failure or a crash the template is as before.
 *
 * An imported snapshot does not start a VM unless a key that this host trusts has signed it; the
 * revision boots instead.  A snapshot that was made here stays.
 *
 * Errors: -ENOENT, -EINVAL (no template's artifact, or no name for the template), -EBADMSG
 * (damaged), -EOPNOTSUPP (a newer format, or another architecture), -EBUSY, -ECANCELED, -ENOSPC and
 * others.
 */
MVM_API int mvm_template_import(struct mvm *mvm, const char *path,
				const struct mvm_import_options *options,
				const struct mvm_progress *progress,
				struct mvm_artifact_result *ret, struct mvm_error *err);

struct mvm_push_options {
	size_t size;	 /* MVM_PUSH_OPTIONS_INIT sets it (mvm/struct.h) */
	bool image_only; /* leave the snapshot out */
	const char *key; /* name of the key to sign it with (mvm/key.h); NULL: no signature */
	const char *sign_command; /* as in struct mvm_sign_options */
};
#define MVM_PUSH_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_push_options)

/*
 * Put a revision into a registry.
 *
 *   ref       "ID" (its current revision) or "ID@REVISION"
 *   to        "reg.example/team/web:v1"; a registry's settings and credentials are those of images
 *   options   borrowed; NULL: all defaults
 *   progress  steps for packing and uploading; may be NULL
 *   ret       may be NULL
 *
 * Only blobs that the repository lacks are uploaded; the tag moves last.  A snapshot is added to
 * those of the same revision that the tag has for other kinds of hosts.  Another revision, or one
 * without a snapshot, replaces the tag.
 * Errors: as mvm_template_export(); -EINVAL (no reference), -EACCES, -EBUSY (too many requests, or
 * too many pushes to the tag at the same time), -E2BIG (too many kinds of hosts), -EREMOTEIO.
 */
MVM_API int mvm_template_push(struct mvm *mvm, const char *ref, const char *to,
			      const struct mvm_push_options *options,
			      const struct mvm_progress *progress, struct mvm_artifact_result *ret,
			      struct mvm_error *err);

struct mvm_sign_options {
	size_t size;	 /* MVM_SIGN_OPTIONS_INIT sets it (mvm/struct.h) */
	const char *key; /* name of a pair of keys, or with sign_command of a public key */
	/* A program that signs, for keys that are elsewhere: its path, or a name on PATH.  No shell
	 * reads it, and it gets no arguments.  It reads the bytes to sign from standard input, and
	 * prints the signature, plain or in base64, within two minutes.  NULL: the key is here. */
	const char *sign_command;
};
#define MVM_SIGN_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_sign_options)

/*
 * Sign a template's artifact that is in a registry.
 *
 *   ref         "reg.example/team/web@sha256:...".  A tag is enough for an artifact without a
 *               snapshot only, as a tag may move
 *   progress    may be NULL
 *   ret_digest  of the signed manifest; may be NULL
 *
 * Errors: -ENOENT (no such artifact, or no such key), -EPERM (a snapshot by its tag), -EACCES (the
 * registry or the program refuses), -EBADMSG (the program prints no signature of the key),
 * -EOPNOTSUPP (no template of mvm's), -ETIMEDOUT and others.
 */
MVM_API int mvm_template_sign(struct mvm *mvm, const char *ref,
			      const struct mvm_sign_options *options,
			      const struct mvm_progress *progress,
			      char ret_digest[MVM_ARTIFACT_DIGEST_SIZE], struct mvm_error *err);

struct mvm_signature_info {
	char *repository;		       /* "reg.example/team/web" */
	char digest[MVM_ARTIFACT_DIGEST_SIZE]; /* of the manifest */
	bool has_snapshot;
	char *key;	     /* name of the trusted key that has signed it; NULL: none has */
	char *fingerprint;   /* of that key */
	char *scope;	     /* what it is trusted for; NULL: everything */
	size_t n_keys;	     /* that you trust for this repository */
	size_t n_signatures; /* that the registry has, of anybody */
};
MVM_API void mvm_signature_info_free(struct mvm_signature_info *info);

/*
 * Who has signed what a reference names now, as a pull would see it?
 *
 *   ret  mvm_signature_info_free() it; set with 0 and 1
 *
 * Returns 1: a key that is trusted for this repository; 0: none.  Errors: as mvm_template_pull().
 */
MVM_API int mvm_template_verify_remote(struct mvm *mvm, const char *ref,
				       const struct mvm_progress *progress,
				       struct mvm_signature_info **ret, struct mvm_error *err);

struct mvm_pull_options {
	size_t size;	 /* MVM_PULL_OPTIONS_INIT sets it (mvm/struct.h) */
	bool image_only; /* leave the snapshot out */
	bool no_wait;	 /* -EBUSY instead of waiting for the template's lock */
	const char *id;	 /* of the template; NULL: the last part of the repository's name */
	bool whole;	 /* mvm_template_of_artifact(): wait until all of it is here */
	/* mvm_template_pull(): if the template has a current revision, with a digest the one that
	 * came with it, then do nothing, and ask no registry */
	bool if_missing;
};
#define MVM_PULL_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_pull_options)

/*
 * Get a revision from a registry and make it current, as mvm_template_import() does.
 *
 *   from      "reg.example/team/web:v1" or with "@sha256:..."
 *   options   borrowed; NULL: all defaults
 *   progress  steps for fetching and unpacking; may be NULL
 *   ret       may be NULL
 *
 * Of several snapshots of the revision the one for this host's CPU and VMM is taken.  If there is
 * none, the image comes alone, a note says so, and ret->snapshot_unfit is set.
 *
 * Only chunks that no local revision has are fetched.  A pull that was stopped goes on where it
 * was.  Two pulls of one artifact run one after the other.
 *
 * Returns 0, or with if_missing 1 if there was nothing to do; then ret->digest is "".
 * Errors: as mvm_template_import(); -EACCES, -EBUSY (too many requests), -EREMOTEIO; -EPERM:
 * registries.toml wants a signature by a trusted key.
 */
MVM_API int mvm_template_pull(struct mvm *mvm, const char *from,
			      const struct mvm_pull_options *options,
			      const struct mvm_progress *progress, struct mvm_artifact_result *ret,
			      struct mvm_error *err);

/*
 * Get the revision of an artifact, to start VMs from: find it, or pull it.
 *
 *   ref      "reg.example/team/web:v1"; "docker://" before it is ignored
 *   options  borrowed; NULL: all defaults
 *   ret_ref  "ID@REVISION", for mvm_instance_start(); free(3) it
 *
 * If the artifact has a snapshot that may run here, this returns as soon as what a start needs is
 * here.  The rest comes while VMs run, in a process that goes on when the caller has ended, and
 * that publishes the revision.  Until then only this handle knows the revision, for
 * mvm_instance_start() and mvm_instance_start_many(); other commands on the template, such as a
 * fork of a VM, need the published one.  If the rest cannot be fetched, these VMs end as failed,
 * with the reason.  Where a start must wait for all of it, a note says why.
 *
 * Returns 1 if it pulled, 0 if the revision was here: a tag is asked for, a digest is not.
 * Errors: as mvm_template_pull(); -EEXIST: a template of that name was not pulled; -EBUSY: the
 * handle has another revision that is still coming.
 */
MVM_API int mvm_template_of_artifact(struct mvm *mvm, const char *ref,
				     const struct mvm_pull_options *options,
				     const struct mvm_progress *progress, char **ret_ref,
				     struct mvm_error *err);

#endif
