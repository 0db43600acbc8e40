/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_VOLUME_H
#define INSTANCE_VOLUME_H

/* The volumes of an instance: copied into its guest, and back.  A guest that says nothing for half
 * a minute has failed. */

#include "instance/record.h"
#include "instance/session.h"

/* A folder's contents, or a file, for the workload's user. */
int volume_copy_in(struct control *c, const struct record_volume *v, struct mvm_error *err);

/* Into a folder whose unchanged files stay as they are, or in the place of the file. */
int volume_copy_back(struct control *c, const struct record_volume *v, int64_t deadline_ns,
		     int cancel_fd, struct mvm_error *err);

/* All of a record that shall come back, one after the other; after one that fails the others are
 * tried, and the error names each that did not come back. */
int volumes_copy_back(struct control *c, const struct record *r, int64_t deadline_ns, int cancel_fd,
		      struct mvm_error *err);

/*
 * Claim a named volume's folder for a VM that writes to it.
 *
 * Returns a descriptor that holds the claim until it is closed; -EBUSY when another one has it.
 */
int volume_lock(const char *path);
int volume_lock_failed(const char *name, int code, struct mvm_error *err);

#endif
