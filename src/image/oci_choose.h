/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_OCI_CHOOSE_H
#define IMAGE_OCI_CHOOSE_H

/* Which image of several is meant: pure decisions on parsed documents. */

#include "image/oci_manifest.h"

/* This machine's architecture as Go calls it: "amd64", "arm64". */
const char *oci_host_arch(void);

/*
 * Narrow the top-level index down to one tag.
 *
 *   tag  NULL: the only tag there is, else "latest"
 *   ret  the name that all entries which are meant have; NULL: all entries are meant
 *
 * Returns 0, or -ENOENT or -EINVAL with the tags that there are.
 */
int oci_choose_tag(const struct oci_index *index, const char *tag, const char *name,
		   const char **ret, struct mvm_error *err);

/*
 * The entry for Linux on an architecture: one that says so, else the first that says nothing.
 *
 *   ref_name  as from oci_choose_tag()
 *
 * Returns 0, or -ENOENT with the platforms that there are.
 */
int oci_choose_platform(const struct oci_index *index, const char *ref_name, const char *arch,
			const char *name, const struct oci_descriptor **ret, struct mvm_error *err);

/* The image of a docker-archive: by its whole name, its name after the registry, or its tag. */
int oci_choose_saved(const struct oci_saved_list *list, const char *tag, const char *name,
		     const struct oci_saved **ret, struct mvm_error *err);

#endif
