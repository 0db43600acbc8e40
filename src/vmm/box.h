/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_BOX_H
#define VMM_BOX_H

/*
 * A process in namespaces of its own, whose root is taken away once it has started.
 *
 * A VMM needs programs, libraries and firmware to start, wherever its packager put them, and none
 * of them afterwards.  So it starts with the host's root in a mount namespace of its own, and
 * box_seal() then puts an empty, read-only file system in its place: pivot_root(2) changes the root
 * of every process in the namespace.  The process that made the namespaces, the keeper, does that
 * and ends.  So nothing has to be found out about the VMM's files, and nothing of the host is left
 * to it but what it has open.
 *
 * Without root a user namespace comes first, in which the user is nobody and no other user exists.
 *
 * Calling sequence: box_is_possible (for whoever asks), box_spawn, box_seal before the process
 * sees anything untrusted, box_done.
 *
 * Source: namespaces(7), pivot_root(2); runc starts its containers as siblings by CLONE_PARENT too.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/own.h"
#include "base/process.h"

struct box {
	int ours, theirs;      /* the keeper listens here */
	struct process keeper; /* none after box_seal() */
	int root_fd; /* in the child only: the root to come, whose files it may want to open */
};
#define BOX_NONE                                                                                   \
	{                                                                                          \
		.ours = -1, .theirs = -1, .root_fd = -1                                            \
	}

enum box_flags {
	BOX_NO_NETWORK = 1u << 0, /* a network namespace in which there is nothing */
	BOX_NEW_USER = 1u << 1,	  /* first a user namespace: for all but a privileged root */
	BOX_NAMES = 1u << 2,	  /* the new root has a copy of /etc/resolv.conf */
};

/* Can processes be put into a box like that here?  Tries it, in a process of its own: half a
 * millisecond. */
bool box_is_possible(unsigned flags);

/*
 * process_spawn() into new mount, PID, IPC, UTS and cgroup namespaces.  The process is the first of
 * its PID namespace and our child; spec->in_child is called in it.
 *
 *   b    BOX_NONE; to be done also after a failure
 *   ret  the process; its pid is ours to use
 *
 * Returns 0, -ENOTSUP where the namespaces are refused (nothing was started), or what
 * process_spawn() does.
 */
int box_spawn(struct box *b, unsigned flags, const struct process_spec *spec, struct process *ret);

/* Take the root away.  Returns 0 or -errno: then the process still has it, and should be killed.
 * Waits for the keeper, who makes six system calls. */
int box_seal(struct box *b);

/* Ends the keeper, not the process. */
void box_done(struct box *b);
DEFINE_AUTO_DONE(box, box_done)

#endif
