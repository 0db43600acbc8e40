/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_VOLUME_H
#define INSTANCE_VOLUME_H

/* The volumes of an instance: copied into its guest, and back.  A guest that says nothing for half
 * a minute has failed. */

#include "instance/record.h"
#include "instance/session.h"

/* How long the volumes of a VM may take to be copied, all together, where its record names no other
 * time: a guest that sends a byte now and then must not live for ever. */
#define VOLUME_TIMEOUT_MS INT64_C(300000)
int64_t volumes_deadline_ns(const struct record *r);

/*
 * Copy all of a record in, for the workload's user: folders' contents, and files.
 *
 *   deadline_ns  for all together
 *   ret_note     what was left out, for people; added to, the caller's
 */
int volumes_copy_in(struct control *c, const struct record *r, int64_t deadline_ns,
		    struct strbuf *ret_note, struct mvm_error *err);

/* Copy back all of a record that shall come back: into a folder whose unchanged files stay as they
 * are, or in the place of the file.  After a file, and after a volume, that fails the others are
 * tried; the error names each volume that did not come back whole. */
int volumes_copy_back(struct control *c, const struct record *r, int64_t deadline_ns, int cancel_fd,
		      struct strbuf *ret_note, struct mvm_error *err);

/* Shall any come back? */
bool volumes_come_back(const struct record *r);

/* None of them was copied: the sentence, which names each that should have come back.  Returns the
 * error's code. */
int volumes_all_lost(const struct record *r, bool back, const char *why, struct mvm_error *err);

/*
 * Claim a named volume's folder for a VM that writes to it.
 *
 * Returns a descriptor that holds the claim until it is closed; -EBUSY when another one has it.
 */
int volume_lock(const char *path);
int volume_lock_failed(const char *name, int code, struct mvm_error *err);

#endif
