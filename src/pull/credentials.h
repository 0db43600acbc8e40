/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PULL_CREDENTIALS_H
#define PULL_CREDENTIALS_H

/*
 * The user's credentials for a registry, as docker and podman keep them.
 *
 * Files, the first that has some: $REGISTRY_AUTH_FILE, $DOCKER_CONFIG/config.json or
 * ~/.docker/config.json, $XDG_RUNTIME_DIR/containers/auth.json or /run/containers/UID/auth.json,
 * $XDG_CONFIG_HOME/containers/auth.json or ~/.config/containers/auth.json.  In a file: the program
 * that credHelpers names for the host, the program of credsStore, the longest fitting key of auths
 * (HOST or HOST/PATH).
 *
 * Source: docker/cli's config.json and docker-credential-helpers; containers-auth.json(5).
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/own.h"
#include "base/progress.h"
#include "base/str.h"

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

/* The key under which programs, and docker's file, keep a host's credentials. */
const char *credentials_server(const char *host);

/* Is this key of auths about the whole host? */
bool credentials_is_key(const char *key, const char *host);

/* The files, in their order, whether they exist or not.  0 or -ENOMEM. */
int credentials_files(struct strv *ret);
#define CREDENTIALS_FILE_MAX ((size_t)4 << 20)

/* The program that a file's document names for a host, as ret_program above; *ret stays NULL
 * without one. */
struct json_at;
int credentials_program(const struct json_at *root, const char *host, char **ret,
			struct mvm_error *err);

/* ---- credential_program.c ---- */

/* Ask docker-credential-PROGRAM.  1 with the credentials, 0 if it has none, or -errno. */
int credential_program_ask(const char *program, const char *host,
			   const struct mvm_progress *progress, struct credentials *ret,
			   struct mvm_error *err);

/* Read its answer.  1 or -EPROTO. */
int credential_program_parse(const char *text, size_t len, struct credentials *ret);

/* Let it keep a user and password, or forget them.  -EACCES when it refuses. */
int credential_program_store(const char *program, const char *host, const struct credentials *who,
			     const struct mvm_progress *progress, struct mvm_error *err);
int credential_program_erase(const char *program, const char *host,
			     const struct mvm_progress *progress, struct mvm_error *err);

#endif
