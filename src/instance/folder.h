/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_FOLDER_H
#define INSTANCE_FOLDER_H

/*
 * An instance's folder, and whose it is.
 *
 * mvm makes a folder under a name that no instance can have, ".vm." and 16 hex digits, with its
 * lock, socket and record in it, and then renames it.  It goes by such a name as well, with nothing
 * but these in it.  So a folder under an instance's name has a record at every moment, and one
 * without is somebody else's.
 *
 * shape.c knows everything that mvm puts into a folder: a new file needs its name there, or
 * instances that remove themselves stay.
 *
 * A folder with a record is locked and has a control.sock that somebody listens on, until its VM
 * has ended; the lock is free once its supervisor is gone.  So whoever wants to end or remove an
 * instance can always tell somebody, also while the instance is being started.
 *
 * Making a folder, taking its lock and removing it therefore happen under the "gate", a flock(2) of
 * the folder of all instances that is held for a few system calls.
 */

#include <mvm/error.h>
#include <stdbool.h>

#include "base/own.h"
#include "instance/record.h"

/* A new folder; -1 where there is no descriptor. */
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
 * Take the lock of a folder without waiting.
 *
 *   what  what the holder is doing, for people
 *
 * Returns a descriptor that holds it; -EBUSY when somebody else does; -ENOENT when the folder has
 * been removed; or -errno.
 */
int instance_folder_lock(int instances_fd, int dir_fd, const char *what);

/* May a user remove this folder as an instance?  It has a record, damaged or not, or the lock of
 * somebody who held it: earlier versions left folders without a record. */
bool instance_folder_is_own(int dir_fd);

/*
 * Is there nothing in the folder but what mvm makes?  1, 0 or -errno.
 *
 *   begun  false: a folder that has no name yet, or no more
 */
int instance_folder_is_pure(int dir_fd, bool begun);

/* Remove a folder without an instance's name whose maker or remover was killed.  Any other name is
 * left alone. */
void instance_folder_sweep(int instances_fd, const char *name);

/*
 * Remove an instance's folder.
 *
 *   dir_fd   the folder; another one that has its name by now is left alone (-ENOENT).  The caller
 *            holds its lock, or nobody can
 *   by_name  the user named the instance: whatever lies in its folder goes.  Otherwise a folder
 *            with anything in it that mvm did not make stays whole (-ENOTEMPTY)
 *
 * Returns 0 or -errno.
 */
int instance_folder_remove(int instances_fd, const char *name, int dir_fd, bool by_name);

/*
 * Have whoever owns an instance end it, and wait until the lock is free.
 *
 * A supervisor that does not answer for ten seconds is killed, and its VMM dies with it.  An owner
 * that has gone already is success.
 */
int instance_folder_kill(int dir_fd, const char *name, struct mvm_error *err);

#endif
