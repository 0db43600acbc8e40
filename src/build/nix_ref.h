/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BUILD_NIX_REF_H
#define BUILD_NIX_REF_H

/* What a Nix flake reference says, and which attribute of the flake a template wants.  Text only:
 * nothing is looked up. */

#include "base/error.h"
#include "base/own.h"
#include "base/str.h"

struct nix_ref {
	char *flake;	 /* the reference without its fragment */
	char *attribute; /* what follows '#'; NULL when nothing does */
	char *folder;	 /* where flake.nix is, for a flake on this machine; else NULL */
};

/*
 * Take a reference apart.
 *
 *   flake_ref  "/srv/web", "path:/srv/web?dir=vm#worker", "github:owner/repo/branch", ...
 *   ret        nix_ref_done() it
 *
 * Errors: -EINVAL (it would be an option of the nix command, or is a path that is not absolute).
 * Source: the Nix manual, "nix flake", "Flake references".
 */
int nix_ref_parse(const char *flake_ref, struct nix_ref *ret, struct mvm_error *err);
void nix_ref_done(struct nix_ref *r);
DEFINE_AUTO_DONE(nix_ref, nix_ref_done)

/* "x86_64-linux": the system that this machine, and so its guests, are to Nix. */
#define NIX_SYSTEM_SIZE 80
void nix_system(char ret[NIX_SYSTEM_SIZE]);

/* The names that a template's package may have, the preferred one first.  ret->failed tells
 * whether memory ran out. */
void nix_candidates(const char *role, const char *profile, struct strv *ret);

/* The first candidate among the names that there are; NULL: none is. */
const char *nix_choose(const struct strv *candidates, const struct strv *names);

/* "<flake>#packages.<system>", and with a name the package; NULL when out of memory. */
char *nix_installable(const struct nix_ref *r, const char *system, const char *name);

#endif
