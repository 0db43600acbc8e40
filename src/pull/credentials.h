/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PULL_CREDENTIALS_H
#define PULL_CREDENTIALS_H

/*
 * The user's credentials for a registry, as docker and podman keep them.
 *
 * Files, the first that has some: $DOCKER_CONFIG/config.json or ~/.docker/config.json,
 * $REGISTRY_AUTH_FILE, $XDG_RUNTIME_DIR/containers/auth.json, ~/.config/containers/auth.json.  In a
 * file: the program that credHelpers names for the host, the program of credsStore, the longest
 * fitting key of auths (HOST or HOST/PATH).
 *
 * Source: docker/cli's config.json and docker-credential-helpers; containers-auth.json(5).
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/own.h"
#include "base/progress.h"

struct credentials {
	char *user, *password; /* both or none */
	char *identity;	       /* a refresh token */
	char *bearer;	       /* a registry token */
	char *from;	       /* the file; NULL: there are no credentials */
};
void credentials_done(struct credentials *c);
DEFINE_AUTO_DONE(credentials, credentials_done)

/*
 * Find the credentials for a repository.  None is success, with from NULL.
 *
 *   host, path  as in struct image_ref
 *   progress    stops a program that waits for its user; may be NULL
 *
 * Errors: -EINVAL (a file makes no sense), -EACCES (a program fails), -ECANCELED, ...
 */
int credentials_find(const char *host, const char *path, const struct mvm_progress *progress,
		     struct credentials *ret, struct mvm_error *err);

/* Find the file's program that has the credentials; NULL: none. ret_program: the part of its name
 * after "docker-credential-".  Also takes credentials that are in the file itself. */
int credentials_parse(const char *text, size_t len, const char *name, const char *host,
		      const char *path, struct credentials *ret, char **ret_program,
		      struct mvm_error *err);

/* The key under which programs keep a host's credentials. */
const char *credentials_server(const char *host);

/* ---- credential_program.c ---- */

/* Ask docker-credential-PROGRAM.  1 with the credentials, 0 if it has none, or -errno. */
int credential_program_ask(const char *program, const char *host,
			   const struct mvm_progress *progress, struct credentials *ret,
			   struct mvm_error *err);

#endif
