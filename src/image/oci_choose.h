/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_OCI_CHOOSE_H
#define IMAGE_OCI_CHOOSE_H

/*
 * Choose one of several images: pure decisions on parsed documents.
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

/* Whether an image for os and arch runs on a platform.  NULL means unknown, and fits. */
bool oci_platform_fits(const struct oci_platform *p, const char *os, const char *arch);

/*
 * Mark the entries of a layout's index that a name selects.
 *
 *   tag   NULL: all if there is only one name or image, else those that "latest" selects
 *   name  of the layout, for messages
 *
 * Returns the number of marked entries; -ENOENT or -EINVAL.  The text lists the existing images or,
 * if no entry is an image, the fault of an entry.
 */
int oci_choose_name(struct oci_index *index, const char *tag, const char *name,
		    struct mvm_error *err);

/* Mark all images of an index.  Returns their number. */
int oci_choose_all(struct oci_index *index);

/*
 * Choose the marked entry for Linux on a platform.  An entry that names the platform wins over one
 * that names none.  Of several variants of amd64, the highest that guests run wins.
 *
 *   first  for equally good entries: true takes the first, as the specification demands within an
 *          image's index; false is -EINVAL, unless all are the same image
 *
 * Returns 0; -ENOENT or -EINVAL.  The text lists the existing images, or tells the fault of the
 * chosen entry.
 */
int oci_choose_platform(struct oci_index *index, const struct oci_platform *p, bool first,
			const char *name, const struct oci_descriptor **ret, struct mvm_error *err);

/* The image of a docker-archive.  tag NULL: the only one.  Errors as oci_choose_name(). */
int oci_choose_saved(const struct oci_saved_list *list, const char *tag, const char *name,
		     const struct oci_saved **ret, struct mvm_error *err);

#endif
