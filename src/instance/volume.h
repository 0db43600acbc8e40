/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_VOLUME_H
#define INSTANCE_VOLUME_H

/* The volumes of an instance: copies into its guest, and back.  A guest that is silent for half a
 * minute has failed. */

#include "instance/record.h"
#include "instance/session.h"
#include "instance/volume_place.h"

/* Deadline for copying all volumes of a VM, by its record or the default.  It stops a guest that
 * only sends a byte now and then. */
#define VOLUME_TIMEOUT_MS INT64_C(300000)
int64_t volumes_deadline_ns(const struct record *r);

/* The places of a record's volumes on this host.  They are opened before the copy, which may then
 * give up the right to open others. */
struct volume_places {
	struct volume_place at[RECORD_VOLUMES_MAX];
	struct mvm_error why[RECORD_VOLUMES_MAX]; /* code is 0 where it is open */
	mode_t umask;				  /* for files from the guest */
};

/*
 * Open them.  A place that cannot be opened fails when its copy begins.
 *
 *   back  only those that are copied back; a missing folder is made
 */
void volume_places_open(const struct record *r, bool back, struct volume_places *ret);
void volume_places_done(struct volume_places *p);
DEFINE_AUTO_DONE(volume_places, volume_places_done)

/*
 * Copy all volumes of a record into the guest, for the workload's user: contents of folders, and
 * files.
 *
 *   deadline_ns  for all volumes together
 *   ret_note     sentences about files that were left out are added to it; the caller frees it
 */
int volumes_copy_in(struct control *c, const struct record *r, const struct volume_places *places,
		    int64_t deadline_ns, struct strbuf *ret_note, struct mvm_error *err);

/* Copy back all write_back volumes of a record.  Unchanged files in a folder are not touched. After
 * a file or volume fails, the others are still tried; the error names each volume that did not come
 * back whole. */
int volumes_copy_back(struct control *c, const struct record *r, const struct volume_places *places,
		      int64_t deadline_ns, const struct mvm_progress *progress,
		      struct strbuf *ret_note, struct mvm_error *err);

/* Does the record have write_back volumes? */
bool volumes_come_back(const struct record *r);

/* Report that no volume was copied, naming each volume concerned.  Returns the error's code. */
int volumes_all_lost(const struct record *r, bool back, const char *why, struct mvm_error *err);

/*
 * Claim a named volume's folder for a VM that writes to it.
 *
 * Returns a descriptor that holds the claim until it is closed; -EBUSY when another VM holds it.
 */
int volume_lock(const char *path);
int volume_lock_failed(const char *name, int code, struct mvm_error *err);

#endif
