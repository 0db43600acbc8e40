/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BUILD_NIX_EXPLAIN_H
#define BUILD_NIX_EXPLAIN_H

/* Explain a failed nix command: the end of its messages, and a hint for each usual cause. */

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* Substrings of Nix's error messages, of Nix 2.8 and later. */
#define NIX_SAYS_NO_ATTRIBUTE "does not provide attribute"
#define NIX_SAYS_OLD_LOCK     "requires lock file changes"
#define NIX_SAYS_WRONG_HASH   "hash mismatch in fixed-output derivation"

/*
 * Describe a failure.
 *
 *   what      "nix build"
 *   errors    the command's standard error, or its end; NUL-terminated; may be NULL
 *   log_path  file with the whole output; may be NULL
 *
 * Returns the code of the cause, -EREMOTEIO for an unknown one.
 */
int nix_explain(const char *what, const char *errors, const char *log_path, struct mvm_error *err);

/*
 * Find a fixed-output hash that Nix called wrong: the specified and the right one, each as
 * "sha256-<base64>".  Returns whether errors name one.
 */
#define NIX_HASH_SIZE 128
bool nix_wrong_hash(const char *errors, char ret_specified[NIX_HASH_SIZE],
		    char ret_got[NIX_HASH_SIZE]);

#endif
