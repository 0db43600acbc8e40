/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEMPLATE_IMAGE_SECRETS_H
#define TEMPLATE_IMAGE_SECRETS_H

#include <mvm/build.h>

#include "model/template.h"

/* Add notes about keys and credentials in an image, which all of its VMs would share.  Looks only
 * at well-known places.  An unreadable image gets no note. */
void image_secrets_note(int rootfs_fd, const char *template_id,
			const struct mvm_progress *progress);

/* Add notes about servers in an image that keep keys in memory, for a snapshot that captures a
 * running workload.  run: the revision's settings. */
void image_servers_note(int rootfs_fd, const char *template_id, const struct mvm_run *run,
			const struct mvm_progress *progress);

#endif
