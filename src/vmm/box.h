/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_BOX_H
#define VMM_BOX_H

/*
 * A box: a process in namespaces of its own, which loses its root folder once it has started.
 *
 * A VMM needs its program, libraries and firmware, wherever its packager put them, but only to
 * start.  So it starts with the host's root folder, in a mount namespace of its own.  Then
 * box_seal() replaces the root by an empty, read-only file system: pivot_root(2) changes the root
 * of every process in the namespace.  The keeper, the process that made the namespaces, does that
 * and ends.  So mvm need not know the VMM's files, and the VMM keeps nothing of the host but its
 * open descriptors.
 *
 * Without root the box begins with a user namespace, in which the user is nobody and no other user
 * exists.
 *
 * Calling sequence: box_is_possible (optional), box_spawn, box_seal before the process sees
 * anything untrusted, box_done.
 *
 * Source: namespaces(7), pivot_root(2); runc starts its containers as siblings by CLONE_PARENT too.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/own.h"
#include "base/process.h"

struct box {
	int ours, theirs;      /* socket pair between the caller and the keeper */
	struct process keeper; /* none after box_seal() */
};
#define BOX_NONE                                                                                   \
	{                                                                                          \
		.ours = -1, .theirs = -1                                                           \
	}

enum box_flags {
	BOX_NO_NETWORK = 1u << 0, /* an empty network namespace */
	BOX_NEW_USER = 1u << 1,	  /* a user namespace first: for everybody but a privileged root */
};

/* Can this process make such a box here?  Tries it in a child process: half a millisecond. */
bool box_is_possible(unsigned flags);

/*
 * process_spawn() into new mount, PID, IPC, UTS and cgroup namespaces.  The process is the first of
 * its PID namespace and the caller's child.  It calls spec->in_child.
 *
 *   b    BOX_NONE; box_done() it, also after a failure
 *   ret  the process, with its pid in the caller's PID namespace
 *
 * Returns 0, -ENOTSUP when the host refuses the namespaces (nothing was started), or an error of
 * process_spawn().
 */
int box_spawn(struct box *b, unsigned flags, const struct process_spec *spec, struct process *ret);

/* Replace the process's root.  On -errno the process still has the host's root, and the caller
 * should kill it.  Waits for the keeper, which makes six system calls. */
int box_seal(struct box *b);

/*
 * Make a folder's descriptor lead to that folder alone: '..' no longer leads out of it, nor to the
 * host's root after box_seal().  The working folder: box_narrow(AT_FDCWD).  Call this in the box,
 * before exec; it makes only system calls.  Returns 0, or -ENOTSUP if the folder is elsewhere or
 * has mounts below it.
 */
int box_narrow(int fd);

/* End the keeper, not the process. */
void box_done(struct box *b);
DEFINE_AUTO_DONE(box, box_done)

#endif
