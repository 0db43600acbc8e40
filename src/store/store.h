/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

/*
 * The data folder: its subfolders, locks and staging.
 *
 * Lasting files are made in a staging folder under tmp/ and moved into place with one rename.  So a
 * reader needs no lock, and a crash leaves the old state or the new one.  The process that made a
 * staging folder holds an flock(2) on it; store_open() removes staging folders without an owner.
 *
 * Lock order, outermost first: template lock, turn (store/turn.h), store lock, lease.  Locks are
 * taken around changes to files, never around the network or a VM; the lease, a shared lock that a
 * running VM holds on its revision, is the exception.
 */

#include "model/template.h"
#include <stdbool.h>

#include "base/error.h"
#include "base/lock.h"
#include "base/own.h"
#include "base/str.h"

struct store;

enum store_flags {
	/* Create nothing and lock nothing (-EROFS); a missing data folder counts as empty. */
	STORE_READ_ONLY = 1u << 0,
};

/*
 * Open the data folder, and create it if needed (mode 0700).
 *
 *   data_dir  NULL: as mvm_data_dir(NULL)
 *   flags     enum store_flags
 *   ret       store_free() it
 *
 * Errors: -EPERM when others may write the folder or own it; -EACCES, -EROFS and others when it
 * cannot be created or written, with a hint.  Subfolders are created at their first use.
 * Cost: about ten system calls when there is nothing to sweep.
 */
int store_open(const char *data_dir, unsigned flags, struct store **ret, struct mvm_error *err);

void store_free(struct store *s);
DEFINE_AUTO(store, store_free)

/* The data folder's path as given, for messages. */
const char *store_path(const struct store *s);

/* Report that the data folder is not writable, with the remedy.  Returns code, or what is true of
 * the whole folder: -EROFS or -EACCES. */
int store_not_writable(const struct store *s, int code, struct mvm_error *err);

/* Add the reason to a failure in the data folder, if one is known (-EXDEV, -ENOSPC, -EDQUOT).
 * Returns code. */
int store_mend(const struct store *s, int code, struct mvm_error *err);

/* The data folder itself; -1 when it is missing (STORE_READ_ONLY). */
int store_root(const struct store *s);

enum store_dir {
	STORE_TEMPLATES,
	STORE_BLOBS,  /* blobs/sha256 */
	STORE_CACHE,  /* cache */
	STORE_BUILDS, /* cache/builds */
	STORE_IMAGES, /* cache/images */
	STORE_PULLS,  /* cache/pulls */
	STORE_CHUNKS, /* cache/chunks */
	STORE_KERNELS,
	STORE_INSTANCES,
	STORE_TMP,
	STORE_LOCKS,
	STORE_LOGS,
	STORE_POOL,
	STORE_VOLUMES,
	STORE_KEYS,
	STORE_TRUST,
	STORE_TOKENS,
	STORE_DIR_COUNT,
};

/*
 * A subfolder, created at its first use unless the store is read-only.
 *
 * Returns a descriptor that the store owns, or -errno (-ENOENT: missing in a read-only store;
 * -EXDEV: another file system is mounted at tmp/, so files could not be renamed out of it).
 */
int store_dir(struct store *s, enum store_dir which);

/* Does this error of store_dir() mean that the folder was never made, and is not made now, because
 * the store is read-only or its disk is full? */
bool store_dir_is_missing(int code);

/* store_dir() with a sentence on failure. */
int store_dir_get(struct store *s, enum store_dir which, struct mvm_error *err);

/* Only the sentence: describe a failure code of store_dir(), and return the code. */
int store_dir_failed(const struct store *s, enum store_dir which, int code, struct mvm_error *err);

/* Report that a lock could not be taken, with the remedy.  name: of the file in the folder, which
 * is mostly STORE_LOCKS.  Returns code. */
int store_lock_failed(struct store *s, enum store_dir which, const char *name, int code,
		      struct mvm_error *err);

/* The names in a subfolder, sorted; none if a read-only store lacks the folder. */
int store_dir_names(struct store *s, enum store_dir which, struct strv *ret, struct mvm_error *err);

/*
 * A private folder on the store's file system for temporaries of file_replace_at() and
 * link_replace_at(), swept like all staging.  Borrowed.  -errno with a sentence.
 */
int store_scratch(struct store *s, struct mvm_error *err);

/* ---- Locks ---- */

/*
 * One build, edit or delete of a template at a time.
 *
 *   flags       LOCK_NOWAIT: -EBUSY instead of waiting; see base/lock.h
 *   what        what this holder does, told to waiting processes
 *   ret_holder  on -EBUSY "<pid> <what>" of the holder; may be NULL
 *
 * Returns a descriptor to close, or -errno.
 */
int store_lock_template(struct store *s, const char *id, unsigned flags, const char *what,
			char ret_holder[LOCK_HOLDER_SIZE]);

/* Wait until nobody holds a template's lock, and take none.  0, -ECANCELED once progress (may be
 * NULL) stops the work, or -errno. */
int store_await_template(struct store *s, const char *id, const struct mvm_progress *progress);

/* The lock for shared work: the build cache, garbage collection.  Waits for its holder, who may be
 * removing many files; progress (may be NULL) stops the wait: -ECANCELED. */
int store_lock(struct store *s, const char *what, const struct mvm_progress *progress);

/* Keep a revision from being removed as long as the returned descriptor is open, also in a child.
 * Take it before opening the revision: a remover may have been faster. */
int store_lease_revision(struct store *s, const char *id, const char *revision);

/* The lock of a remover.  Does not wait: -EBUSY while there are leases. */
int store_claim_revision(struct store *s, const char *id, const char *revision);

/* store_claim_revision() for all revisions of a template, future ones included. */
int store_claim_template(struct store *s, const char *id);

/*
 * Who keeps state that needs a revision's snapshot, and who replaces that snapshot, exclude each
 * other while they look and act.  Neither waits: -EBUSY while the other is at it.
 *
 *   lease_fd  of store_lease_revision(); many may hold the snapshot at once
 *
 * store_claim_snapshot() returns a descriptor that holds the claim.
 */
int store_hold_snapshot(int lease_fd, const char *revision);
void store_let_go_snapshot(int lease_fd, const char *revision);
int store_claim_snapshot(struct store *s, const char *id, const char *revision);

/* Is there a lease now?  Only for display; removers take a claim. */
bool store_revision_in_use(struct store *s, const char *id, const char *revision);

/* Remove the lock files of a deleted template, unless somebody holds them. */
void store_forget_locks(struct store *s, const char *id);

/* Remove the lock files of all deleted templates: a process that waited for the lock during the
 * deletion has made the file again.  Garbage collection calls this.  0 or -errno. */
int store_sweep_locks(struct store *s);

/* ---- Staging ---- */

#define STAGING_NAME_SIZE 64u

struct staging {
	int fd;	    /* the folder */
	int tmp_fd; /* its parent folder; borrowed */
	char name[STAGING_NAME_SIZE];
};

#define STAGING_NONE                                                                               \
	{                                                                                          \
		.fd = -1, .tmp_fd = -1                                                             \
	}

/* Make a folder that this process owns until staging_done() or its end. */
int store_stage(struct store *s, struct staging *ret, struct mvm_error *err);

/* Remove the folder at the staging's name and release it.  After a publication no folder is left
 * there; after an exchange it is the old revision.  The store must still be open. */
void staging_done(struct staging *st);
DEFINE_AUTO_DONE(staging, staging_done)

/*
 * Move a folder into staging, in one rename, which works on a full disk too.  There it has no
 * owner: store_remove_staged() removes it, or any later command.
 *
 * Returns 0 or -errno.
 */
int store_stage_away(struct store *s, int dir_fd, const char *name,
		     char ret_name[STAGING_NAME_SIZE]);
void store_remove_staged(struct store *s, const char *name);

/* Remove staging folders without an owner.  store_open() calls this.  Returns how many. */
int store_sweep(struct store *s);

#endif
