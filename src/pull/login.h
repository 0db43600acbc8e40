/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PULL_LOGIN_H
#define PULL_LOGIN_H

/*
 * Logins in the files of docker and podman (pull/credentials.h), so that these tools have them too.
 *
 * A login goes to the first of the files: $REGISTRY_AUTH_FILE, or docker's config.json.  If that
 * file names a credential helper for the host, the helper gets the password, and the file an empty
 * entry, as docker has it.  Everything else in a file stays, and it is replaced whole, with mode
 * 0600.
 */

#include "pull/credentials.h"

struct login_place {
	char *file;
	char *program; /* the helper that has the password, "docker-credential-pass"; NULL: none */
};
void login_place_done(struct login_place *p);
DEFINE_AUTO_DONE(login_place, login_place_done)

/*
 * Ask a registry whether it takes a user and password.
 *
 *   data_dir  where the settings are (pull/settings.h)
 *
 * Returns 1, 0 (it asks nobody for a password, so nothing is known), -EACCES (it refuses them),
 * -EREMOTEIO, ...
 */
int login_check(const char *data_dir, const char *host, const struct credentials *who,
		const struct mvm_progress *progress, struct mvm_error *err);

/* Keep a user and password for a host.  Errors: -EBADMSG (the file makes no sense; it stays as it
 * is), -EACCES (a helper refuses), errno of reading and writing. */
int login_store(const char *host, const struct credentials *who,
		const struct mvm_progress *progress, struct login_place *ret,
		struct mvm_error *err);

/* Remove a host's credentials from all the files, and from their helpers.  ret: the files that had
 * some, none after all is success. */
int login_forget(const char *host, const struct mvm_progress *progress, struct strv *ret,
		 struct mvm_error *err);

#endif
