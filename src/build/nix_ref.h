/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BUILD_NIX_REF_H
#define BUILD_NIX_REF_H

/* Parse Nix flake references, and name the attribute of a flake that a template means. */

#include <stdbool.h>

#include "base/error.h"
#include "base/own.h"
#include "base/str.h"

struct nix_ref {
	char *flake;	 /* the reference without its fragment, for people */
	char *arg;	 /* the reference without its fragment, as nix takes it */
	char *attribute; /* the text behind '#'; NULL: none */
	/* only for a flake on this machine; else NULL */
	char *path;   /* the path in the reference */
	char *folder; /* the folder of flake.nix: the path, or its "dir" */
	char *git;    /* the git repository, when Nix gets its path with escapes; else NULL */
	bool by_name; /* the path has only bytes that each Nix takes in each reference */
};

/*
 * Take a reference apart.
 *
 *   flake_ref  "/srv/web", "path:/srv/web?dir=vm#worker", "github:owner/repo/branch", ...; in
 *              paths %XX is a byte, as in URLs
 *   ret        nix_ref_done() it
 *
 * Text only: nothing is looked up.
 *
 * Errors: -EINVAL (it would be an option of the nix command, or is a path that is not absolute).
 * Source: the Nix manual, "nix flake", "Flake references".
 */
int nix_ref_parse(const char *flake_ref, struct nix_ref *ret, struct mvm_error *err);
void nix_ref_done(struct nix_ref *r);
DEFINE_AUTO_DONE(nix_ref, nix_ref_done)

/*
 * Make Nix find a flake whose path has bytes that it decodes.  Versions decode different bytes.
 * Only two references work in every version: the URL of a git repository, and "path:." in the
 * folder itself.
 *
 *   r           r->arg changes, unless by_name
 *   ret_cwd_fd  the folder in which the nix command must run; the caller's.  Unchanged when any
 *               folder will do
 *
 * Errors: -ENOENT, -EACCES, ... of opening the folder.
 */
int nix_ref_locate(struct nix_ref *r, int *ret_cwd_fd, struct mvm_error *err);

/* Nix's name for the system of this machine and its guests, as in "x86_64-linux". */
#define NIX_SYSTEM_SIZE 80
void nix_system(char ret[NIX_SYSTEM_SIZE]);

/* The names that a template's package may have, the preferred one first.  ret->failed tells
 * whether memory ran out. */
void nix_candidates(const char *role, const char *profile, struct strv *ret);

/* The first candidate that is one of the names; NULL: none is. */
const char *nix_choose(const struct strv *candidates, const struct strv *names);

/* "<flake>#packages.<system>", and with a name the package; NULL when out of memory. */
char *nix_installable(const struct nix_ref *r, const char *system, const char *name);

#endif
