/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEMPLATE_IMAGE_SECRETS_H
#define TEMPLATE_IMAGE_SECRETS_H

#include <mvm/build.h>

#include "model/template.h"

/*
 * Add notes about secrets in an image, which all of its VMs would share: keys and credentials.  If
 * the snapshot captures a running workload, also servers that keep keys in memory.  Looks only at
 * well-known places.  An unreadable image gets no note.
 *
 *   run       the settings of the revision
 *   snapshot  true: a snapshot will be made
 */
void image_secrets_note(int rootfs_fd, const char *template_id, const struct mvm_run *run,
			bool snapshot, const struct mvm_progress *progress);

#endif
