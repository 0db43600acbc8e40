/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BUILD_NIX_EXPLAIN_H
#define BUILD_NIX_EXPLAIN_H

/* What a failed nix command means: the end of what it said, and the usual causes with what to do
 * about them. */

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* What Nix says when something did not work.  Substrings, as of Nix 2.8 and later ones. */
#define NIX_SAYS_NO_ATTRIBUTE "does not provide attribute"
#define NIX_SAYS_OLD_LOCK     "requires lock file changes"
#define NIX_SAYS_WRONG_HASH   "hash mismatch in fixed-output derivation"

/*
 * Describe a failure.
 *
 *   what      "nix build"
 *   errors    what it printed to standard error, or the end of that; NUL-terminated; may be NULL
 *   log_path  where all of it is; may be NULL
 *
 * Returns a code that fits, -EREMOTEIO if no usual cause was found.
 */
int nix_explain(const char *what, const char *errors, const char *log_path, struct mvm_error *err);

/*
 * A fixed-output hash that Nix found to be wrong, "sha256-<base64>" each.
 * Returns whether errors tell of one.
 */
#define NIX_HASH_SIZE 128
bool nix_wrong_hash(const char *errors, char ret_specified[NIX_HASH_SIZE],
		    char ret_got[NIX_HASH_SIZE]);

#endif
