/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_OCI_DIGEST_H
#define IMAGE_OCI_DIGEST_H

/* Digests as OCI documents write them: "sha256:" and 64 hex digits. */

#include <mvm/digest.h>

#include "codec/json.h"

/* Returns 0, -EINVAL, or -EOPNOTSUPP for another algorithm. */
int oci_digest_parse(const char *s, struct mvm_digest *ret);

/* Get a required member that is a digest. */
int oci_get_digest(const struct json_at *at, const char *key, struct mvm_digest *ret,
		   struct mvm_error *err);

/* Describe a failure of oci_digest_parse() on a text at a place.  Returns a negative errno. */
int oci_digest_error(const struct json_at *at, const char *key, int r, const char *text,
		     struct mvm_error *err);

#endif
