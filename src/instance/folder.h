/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_FOLDER_H
#define INSTANCE_FOLDER_H

/*
 * An instance's folder, and its owner.
 *
 * mvm makes a folder under a name that no instance can have, ".vm." and 16 hex digits, with its
 * lock, socket and record in it, and then renames it.  A removal renames it to such a name again,
 * with only these files in it.  So a folder under an instance's name has a record at every moment;
 * a folder without a record is foreign.
 *
 * shape.c lists every file that mvm puts into a folder.  A new file needs its name there, or
 * instances that remove themselves stay behind.
 *
 * Until its VM has ended, a folder with a record is locked and has a control.sock with a listener;
 * the lock is free once its supervisor is gone.  So a command can always reach the owner to end or
 * remove an instance, also during its start.
 *
 * For that, making a folder, taking its lock, renaming it and removing it happen under the "gate",
 * a flock(2) of the folder of all instances that is held for a few system calls.  So does whatever
 * a process puts into a folder whose lock it does not hold, or the remover would leave it behind.
 *
 * A rename writes the record first, with both names, and then renames the folder.  So after a kill
 * in between the folder still has the record's former_name, and by that it is called.
 */

#include <mvm/error.h>
#include <mvm/progress.h>
#include <stdbool.h>

#include "base/own.h"
#include "instance/record.h"

/* A new folder; -1: no descriptor. */
struct instance_folder {
	int dir_fd, lock_fd, listen_fd;
};
#define INSTANCE_FOLDER_NONE                                                                       \
	{                                                                                          \
		-1, -1, -1                                                                         \
	}
void instance_folder_done(struct instance_folder *f);
DEFINE_AUTO_DONE(instance_folder, instance_folder_done)

/* Make a folder with its record, its lock and its socket.  -EEXIST when the name is in use, or
 * -errno; nothing stays behind. */
int instance_folder_make(int instances_fd, const struct record *record,
			 struct instance_folder *ret);

/*
 * Take the folder of an instance that has ended, for another start: with its lock, and a socket and
 * a record in place of the old ones.
 *
 *   dir_fd  the folder; the caller keeps it
 *   record  the new one
 *
 * Returns 0; -EBUSY when the instance runs, or somebody starts or removes it; -ENOENT when it has
 * been removed; or -errno.  Killed in between, it leaves an instance that is lost (settle.c).
 */
int instance_folder_take(int instances_fd, int dir_fd, const struct record *record,
			 struct instance_folder *ret);

/*
 * Leave a file in the folder of an instance, for its supervisor: INSTANCE_WANTED_NAME or
 * INSTANCE_RENAME_NAME.
 *
 * Returns 0; -ENOENT when the folder has been removed or renamed; or -errno.
 */
int instance_folder_put(int instances_fd, const char *name, int dir_fd, const char *file,
			const char *text);

/*
 * Take the lock of a folder without waiting.
 *
 *   what  what this holder does, for people
 *
 * Returns a descriptor that holds the lock; -EBUSY when somebody else holds it; -ENOENT when the
 * folder has been removed; or -errno.
 */
int instance_folder_lock(int instances_fd, int dir_fd, const char *what);

/*
 * Did mvm make this folder, whose record is damaged or missing?  Every instance has a lock file.
 * With a file in the record's place, the lock may be empty: a full disk empties both.  Without one
 * it must name its holder: earlier versions left folders without a record.
 */
bool instance_folder_is_own(int dir_fd);

/* Does the record belong to another folder, as after a copy of the whole data folder? */
bool instance_folder_has_moved(int dir_fd, const struct record *r);

/* Has a user copied or renamed the folder, by its record?  Then it is no instance.  A VM of a
 * pool is different: its supervisor renames the folder before it writes the record.  So is a record
 * whose former_name the folder has. */
bool instance_folder_is_copy(int dir_fd, const char *name, const struct record *r);

/* Call the record by its folder's name, if that is its former_name.  0 or -ENOMEM. */
int instance_folder_name_record(const char *name, struct record *r);

/*
 * Rename an instance: its record, and its folder with everything in it.
 *
 *   record  the caller holds the folder's lock and writes its record, and this is that record; on
 *           success it has the new name
 *
 * Errors: -EINVAL (no valid name; one that ends with its starter, which knows it by its name);
 * -EEXIST ("instance-exists"); -ENOENT (it has been removed); those of writing the record.  Killed
 * in between, it leaves the instance with its old or its new name.
 */
int instance_folder_rename(int instances_fd, int dir_fd, struct record *record, const char *to,
			   struct mvm_error *err);

/*
 * Close the gate: until the returned descriptor is closed, no folder comes, goes or is renamed, so
 * a list of them is complete.  Only for a few system calls.  Or -errno.
 */
int instance_folder_close_gate(int instances_fd);

/*
 * Does the folder have only files that mvm makes?  1, 0 or -errno.
 *
 *   begun        false: a folder that does not have the instance's name yet, or no longer has it
 *   ret_foreign  with 0, the name of the first foreign file; free(3) it.  May be NULL
 */
int instance_folder_is_pure(int dir_fd, bool begun, char **ret_foreign);

/* Remove a folder without an instance's name whose maker or remover was killed.  Any other name is
 * left alone. */
void instance_folder_sweep(int instances_fd, const char *name);

/*
 * Remove an instance's folder.
 *
 *   dir_fd   the folder; a new folder of that name is left alone (-ENOENT).  The caller holds its
 *            lock, or nobody can
 *   by_name  the user named the instance: remove everything in its folder.  Otherwise a folder with
 *            foreign files stays whole (-ENOTEMPTY)
 *
 * Returns 0 or -errno.
 */
int instance_folder_remove(int instances_fd, const char *name, int dir_fd, bool by_name);

#define INSTANCE_FOLDER_END_MS INT64_C(10000)

/*
 * Wait until the lock is free: its holder is at the last steps, or claims to be.  A supervisor that
 * a guest has broken into may claim anything.
 *
 *   wake_fd   readable: the wait ends; -1: none
 *   progress  its receiver stops the wait; may be NULL
 *
 * Returns 0, also when wake_fd ended the wait; -ETIMEDOUT ("supervisor-silent") with the holder in
 * the sentence; or -ECANCELED.
 */
int instance_folder_await(int dir_fd, const char *name, int wake_fd, int64_t deadline_ns,
			  const struct mvm_progress *progress, struct mvm_error *err);

/*
 * Ask the owner of an instance to end it, and wait until the lock is free.
 *
 *   timeout_ms  for its end; INSTANCE_FOLDER_END_MS.  A killed one has half a minute more
 *   progress    its receiver stops the wait: -ECANCELED; may be NULL
 *
 * A supervisor that has not released the lock by then, whatever it answers, or that gives no proof
 * of life within a second, is killed, and its VMM dies with it.  If the owner is already gone, that
 * is success.  -EBUSY when another process holds the lock, or one that cannot be killed.
 */
int instance_folder_kill(int dir_fd, const char *name, int64_t timeout_ms,
			 const struct mvm_progress *progress, struct mvm_error *err);

#endif
