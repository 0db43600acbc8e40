/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_KEY_H
#define MVM_KEY_H

/* Keys that sign artifacts (mvm/artifact.h), and keys of others that are trusted: Ed25519 and
 * P-256. */

#include <mvm/error.h>
#include <mvm/mvm.h>
#include <mvm/visibility.h>
#include <stdbool.h>
#include <stddef.h>

struct mvm_key_info {
	char *name;
	char *fingerprint; /* SHA-256 of the public key's SubjectPublicKeyInfo, in hex */
	char *path;	   /* of the public key's file */
	bool trusted;	   /* a key of somebody that is trusted; false: a pair to sign with */
	char *scope; /* pattern of the repositories that it is trusted for; NULL: all, and files */
	char *type;  /* "ed25519" or "p256" */
};
MVM_API void mvm_key_info_free(struct mvm_key_info *info);

/* Make a pair of keys to sign with.  type: "ed25519" or "p256"; NULL: the first.
 * mvm_key_info_free() *ret, which may be NULL.  Errors: -EINVAL (no valid name, no such type),
 * -EEXIST.  A crash may leave the secret key alone.  The next call with this name makes the public
 * one of it, and fails with -EEXIST. */
MVM_API int mvm_key_generate(struct mvm *mvm, const char *name, const char *type,
			     struct mvm_key_info **ret, struct mvm_error *err);

/* May this be the `scope` of mvm_key_trust()?  0 or -EINVAL. */
MVM_API int mvm_key_scope_check(const char *scope, struct mvm_error *err);

/*
 * Trust a key: snapshots that it signed may run here, as far as they fit this host.
 *
 *   path   of the public key, PEM
 *   name   of the key here; one of that name is replaced
 *   scope  only artifacts from these repositories, "reg.example/team-*".  fnmatch(3)'s wildcards
 *          stay within one part of the name, and "**" for a part stands for one or more parts.
 *          NULL: all, and files.  What the key has let in before stays
 *   ret    as above
 *
 * Errors: -ENOENT, -EINVAL (no public key of these types, or no valid name).
 */
MVM_API int mvm_key_trust(struct mvm *mvm, const char *path, const char *name, const char *scope,
			  struct mvm_key_info **ret, struct mvm_error *err);

/* Trust a key no longer: snapshots that only it signed do not run any more.  -ENOENT. */
MVM_API int mvm_key_untrust(struct mvm *mvm, const char *name, struct mvm_error *err);

/* The user's own pairs, then the trusted keys, each by name; mvm_key_list_free() the list. */
MVM_API int mvm_key_list(struct mvm *mvm, struct mvm_key_info ***ret, size_t *ret_n,
			 struct mvm_error *err);
MVM_API void mvm_key_list_free(struct mvm_key_info **list, size_t n);

#endif
