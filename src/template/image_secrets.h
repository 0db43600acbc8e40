/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEMPLATE_IMAGE_SECRETS_H
#define TEMPLATE_IMAGE_SECRETS_H

#include <mvm/build.h>

#include "model/template.h"

/*
 * Say what an image has that its VMs would share: keys and credentials, and, when a running
 * workload is to be captured, servers that keep keys in memory.  Only well-known places are looked
 * at.  An image that cannot be read is passed over.
 *
 *   run       the settings of the revision
 *   snapshot  one is to be made
 */
void image_secrets_note(int rootfs_fd, const char *template_id, const struct mvm_run *run,
			bool snapshot, const struct mvm_progress *progress);

#endif
