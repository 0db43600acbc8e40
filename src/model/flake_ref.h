/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_FLAKE_REF_H
#define MODEL_FLAKE_REF_H

/* The source of an image: a Nix flake reference, or a path or an image's name after one of our
 * schemes. */

#include "base/error.h"

/*
 * Make a reference with a relative path absolute.  All others stay as they are.
 *
 *   ref       "dir:web", "tar:../x.tar", "oci:img:tag", "path:./flake?dir=a#b", ".#attr",
 *             "git+file:.?submodules=1", ...
 *   base_dir  absolute path that relative ones count from; a flake's reference is a URL, so the
 *             path is escaped there ("/srv/a%20b")
 *   ret       free(3) it
 *
 * This only changes text: ".." stays, because its target depends on links.
 * Errors: -EINVAL when ref or its path is empty, ref is too long, or has control characters; those
 * of image_ref_parse() after "docker://"; -ENOMEM.
 */
int flake_ref_absolute(const char *ref, const char *base_dir, char **ret, struct mvm_error *err);

#endif
