/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_REGISTRY_H
#define MVM_REGISTRY_H

/* Logins at registries, in the files of docker and podman (doc/registries.md), and what a
 * repository there has (doc/distribution.md). */

#include <mvm/artifact.h>
#include <mvm/error.h>
#include <mvm/mvm.h>
#include <mvm/node.h>
#include <mvm/progress.h>
#include <mvm/template.h>
#include <mvm/visibility.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* May this be the name of a registry, HOST or HOST:PORT?  Asks nobody.  0, -EINVAL or -ENOMEM. */
MVM_API int mvm_registry_check(const char *host, struct mvm_error *err);

struct mvm_login_info {
	char *host; /* "reg.example:5000", "docker.io" */
	char *user;
	char *file;    /* that has the login now */
	char *program; /* the credential helper that has the password; NULL: the file has it */
	bool checked;  /* the registry takes it; false: the registry asks nobody for a password */
};
MVM_API void mvm_login_info_free(struct mvm_login_info *info);

/*
 * Log in at a registry: check a user and password there, and keep them.
 *
 *   host      "reg.example" or "reg.example:5000"
 *   password  at most 8 KiB; borrowed
 *   progress  stops it; may be NULL
 *   ret       mvm_login_info_free() it; may be NULL
 *
 * Nothing is kept that the registry refuses.  Errors: -EINVAL (no host, no user), -EACCES
 * (refused), -EREMOTEIO (no registry answers), -EBADMSG (the file makes no sense; it stays as it
 * is).
 */
MVM_API int mvm_registry_login(struct mvm *mvm, const char *host, const char *user,
			       const char *password, const struct mvm_progress *progress,
			       struct mvm_login_info **ret, struct mvm_error *err);

/*
 * Remove the logins of a registry from every file that mvm reads, and from credential helpers.
 *
 *   ret_files  those that had one; mvm_strings_done() it; may be NULL
 *
 * Errors: -ENOENT (there was none), and as above.
 */
MVM_API int mvm_registry_logout(struct mvm *mvm, const char *host,
				const struct mvm_progress *progress, struct mvm_strings *ret_files,
				struct mvm_error *err);

/* ---- repositories ---- */

/* May this be the name of something in a registry, [HOST[:PORT]/]NAME[:TAG][@DIGEST], with or
 * without "docker://"?  Asks nobody.  0, -EINVAL, -EOPNOTSUPP (a digest that is no SHA-256) or
 * -ENOMEM. */
MVM_API int mvm_remote_check(const char *ref, struct mvm_error *err);

/* A snapshot of a template, for the hosts whose hashes these are (mvm/node.h). */
struct mvm_remote_variant {
	char digest[MVM_ARTIFACT_DIGEST_SIZE]; /* of its manifest */
	char cpu_hash[MVM_NODE_HASH_SIZE], backend_hash[MVM_NODE_HASH_SIZE];
};

struct mvm_remote_tag {
	char *tag;			       /* NULL where a digest was asked for */
	char digest[MVM_ARTIFACT_DIGEST_SIZE]; /* of the manifest */
	uint64_t bytes;			       /* of its blobs; 0 for an index of images */
	char *created;			       /* as an annotation of it says; NULL: unknown */
	bool is_template;		       /* of mvm's; false: an image, or something else */
	bool has_snapshot;
	struct mvm_remote_variant *variants; /* of an index of them; n 0: it is one manifest */
	size_t n_variants;
};

/*
 * List the tags of a repository, by name.
 *
 *   ref       "reg.example/team/web"; with a tag or digest that one alone
 *   progress  may be NULL
 *   ret       mvm_remote_list_free() it
 *
 * Asks the registry itself, not its mirrors, once for each tag.
 * Errors: -EINVAL (no reference), -ENOENT, -EACCES, -EBUSY (too many requests), -EFBIG (more than
 * 10,000 tags), -EREMOTEIO.
 */
MVM_API int mvm_remote_list(struct mvm *mvm, const char *ref, const struct mvm_progress *progress,
			    struct mvm_remote_tag ***ret, size_t *ret_n, struct mvm_error *err);
MVM_API void mvm_remote_list_free(struct mvm_remote_tag **list, size_t n);

/*
 * Delete a manifest of a repository, with its signatures of mvm's kind.
 *
 *   ref  "reg.example/team/web@sha256:..."; with a tag the manifest that it names now.  Every tag
 *        that names this manifest is gone then.  The variants of an index stay.
 *
 * Blobs stay until the registry collects its garbage.
 * Errors: as above; -EOPNOTSUPP: the registry deletes nothing.
 */
MVM_API int mvm_remote_delete(struct mvm *mvm, const char *ref, const struct mvm_progress *progress,
			      struct mvm_error *err);

#endif
