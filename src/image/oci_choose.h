/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_OCI_CHOOSE_H
#define IMAGE_OCI_CHOOSE_H

/*
 * Which image of several is meant: pure decisions on parsed documents.
 *
 * A name selects an image by, in this order: its whole name or the digest ("sha256:" and at least
 * the first 7 digits); the end of its name, from a slash or colon on; the same with ":latest"
 * behind it.  An image's names are its tag, the name that containerd gave it, and its RepoTags.
 */

#include "image/oci_manifest.h"

/* The platform that guests here have. */
struct oci_platform {
	const char *arch;     /* as Go calls it: "amd64", "arm64" */
	unsigned amd64_level; /* the highest x86-64-v<level> that they run */
};

/* Whether an image for os and arch runs there; NULL, which is unknown, does. */
bool oci_platform_fits(const struct oci_platform *p, const char *os, const char *arch);

/*
 * Mark the entries of a layout's index that a name selects.
 *
 *   tag   NULL: all if there is only one name or image, else those that "latest" selects
 *   name  of the layout, for messages
 *
 * Returns how many; -ENOENT or -EINVAL with the images that there are, or what is wrong with an
 * entry when none is an image.
 */
int oci_choose_name(struct oci_index *index, const char *tag, const char *name,
		    struct mvm_error *err);

/* Mark all images of an index.  Returns how many. */
int oci_choose_all(struct oci_index *index);

/*
 * The marked entry for Linux on a platform.  One that names the platform goes before one that does
 * not say; of several variants of amd64 the highest that guests run.
 *
 *   first  if several are as good: false: -EINVAL, unless they are the same; true: the first, as
 *          the specification wants it within an image's index
 *
 * Returns 0; -ENOENT or -EINVAL with the images that there are, or what is wrong with the chosen
 * one.
 */
int oci_choose_platform(struct oci_index *index, const struct oci_platform *p, bool first,
			const char *name, const struct oci_descriptor **ret, struct mvm_error *err);

/* The image of a docker-archive.  tag NULL: the only one.  Errors as oci_choose_name(). */
int oci_choose_saved(const struct oci_saved_list *list, const char *tag, const char *name,
		     const struct oci_saved **ret, struct mvm_error *err);

#endif
