/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_OCI_H
#define IMAGE_OCI_H

/*
 * OCI and Docker images as sources of root filesystem images.
 *
 * oci_open chooses the manifest (name, then platform), and checks manifest and configuration
 * against their digests before it reads them.  oci_write_image checks every layer in the same way,
 * merges them in memory and writes the ext4 image (rules: image/layer.h).
 */

#include "image/image.h"
#include "image/oci_manifest.h"

enum oci_kind {
	OCI_LAYOUT,	    /* a folder with oci-layout, index.json and blobs/ */
	OCI_ARCHIVE,	    /* that folder as an uncompressed tar */
	OCI_DOCKER_ARCHIVE, /* output of `docker save` */
};

struct oci_image;

/*
 * Open an image.
 *
 *   source  PATH or PATH:NAME (oci_choose.h).  Without a name: the only image, else "latest"
 *   arch    as Go calls it ("amd64"); NULL: this machine's
 *   ret     the caller's
 *
 * Returns 0; -ENOENT (no such path, tag, platform or blob; the text lists those that exist),
 * -EINVAL (several images match, or the source is no image), -EBADMSG (damaged, a wrong digest),
 * -EOPNOTSUPP (the archive is compressed as a whole, or the image has no file system), -EFBIG,
 * -ENOMEM or errno.
 */
int oci_open(enum oci_kind kind, const char *source, const char *arch, struct oci_image **ret,
	     struct mvm_error *err);

/*
 * Open an image whose manifest is known, for this machine's architecture.
 *
 *   dir_fd  a folder with blobs/sha256/<hex>: manifest, configuration and layers; borrowed
 *   name    of the image, for messages
 *   ret     the caller's
 *
 * Errors as oci_open().
 */
int oci_open_blobs(int dir_fd, const char *name, const struct mvm_digest *manifest,
		   struct oci_image **ret, struct mvm_error *err);

void oci_free(struct oci_image *image);
DEFINE_AUTO(oci_image, oci_free)

/* The lock of the image: the digest of its manifest.  A docker-archive has no manifest; its lock is
 * the digest of the configuration, which is the image's id and covers all layers too.  Borrowed. */
const struct mvm_digest *oci_lock(const struct oci_image *image);

/* Borrowed. */
const struct oci_config *oci_config(const struct oci_image *image);

/*
 * Write the root filesystem.
 *
 *   out_fd, options  as in image_from_tar()
 *
 * Returns as image_from_tar(); also -EBADMSG for a layer whose digest does not match, and -EBUSY
 * for a failure while somebody writes to a layer.  It reads every layer three times: for the
 * digest, for the names, for the contents.
 */
int oci_write_image(const struct oci_image *image, int out_fd, const struct image_options *options,
		    struct mvm_error *err);

#endif
