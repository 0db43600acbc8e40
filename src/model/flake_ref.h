/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_FLAKE_REF_H
#define MODEL_FLAKE_REF_H

/* Where an image comes from: a Nix flake reference, or one of our schemes before a path. */

#include "base/error.h"

/*
 * Make a reference with a relative path absolute; all others stay as they are.
 *
 *   ref       "dir:web", "tar:../x.tar", "oci:img:tag", "path:./flake?dir=a#b", ".#attr",
 *             "git+file:.?submodules=1", ...
 *   base_dir  absolute path that relative ones count from; in a flake's reference, which is a URL,
 *             it is written as one ("/srv/a%20b")
 *   ret       owned
 *
 * Only text is changed: ".." stays, since what it leads to depends on links.
 * Errors: -EINVAL when ref or its path is empty, ref is too long, or has control characters;
 * -ENOMEM.
 */
int flake_ref_absolute(const char *ref, const char *base_dir, char **ret, struct mvm_error *err);

#endif
