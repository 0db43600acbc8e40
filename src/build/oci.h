/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BUILD_OCI_H
#define BUILD_OCI_H

/* OCI and Docker images on disk as sources (rules: image/oci.h, image/layer.h).  The lock is
 * oci_lock(), and the image's command, environment, folder and user become the run settings. */

#include "build/builder.h"

#define OCI_PREFIX_LAYOUT  "oci:"
#define OCI_PREFIX_ARCHIVE "oci-archive:"
#define OCI_PREFIX_DOCKER  "docker-archive:"

/* As in struct builder, for all three prefixes. */
int oci_source_lock(const struct build_source *source, struct build_lock *ret,
		    struct mvm_error *err);
int oci_source_build(const struct build_source *source, const struct build_lock *lock, int out_fd,
		     int work_fd, struct build_product *ret, struct mvm_error *err);

/* Write an image's root filesystem and its settings, as struct builder's build(). */
struct oci_image;
int oci_image_build(const struct build_source *source, const struct oci_image *image, int out_fd,
		    struct build_product *ret, struct mvm_error *err);

#endif
