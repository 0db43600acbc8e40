/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_REGISTRY_H
#define MVM_REGISTRY_H

/* Logins at registries, in the files of docker and podman (doc/registries.md). */

#include <mvm/error.h>
#include <mvm/mvm.h>
#include <mvm/progress.h>
#include <mvm/template.h>
#include <mvm/visibility.h>
#include <stdbool.h>

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

#endif
