/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_SLOTS_H
#define GUEST_SLOTS_H

/*
 * Everything that a clone must change, opened and laid out before the snapshot, so that a clone
 * needs only a handful of writes.
 *
 * Every path of the kernel that a clone takes for the first time costs it page faults and, under
 * TCG, the translation of that code; replacing files in /etc the usual way took 40 ms.  So the
 * files that tell clones apart live in /run/mvm, are bind-mounted over their places, as container
 * runtimes do with these files, and stay open and mapped: a text that keeps its length is then
 * written without the kernel.
 */

#include <stdint.h>

#include "base/str.h"
#include "request.h"

enum slot {
	SLOT_HOSTNAME,	 /* /etc/hostname */
	SLOT_HOSTS,	 /* /etc/hosts */
	SLOT_MACHINE_ID, /* /etc/machine-id */
	SLOT_BOOT_ID,	 /* /proc/sys/kernel/random/boot_id */
	SLOT_GENERATION, /* /run/mvm/generation; mounted nowhere */
	SLOT_COUNT,
};

struct slots {
	bool ready;
	int fds[SLOT_COUNT];
	char *maps[SLOT_COUNT];	  /* their pages, in the page table already; NULL: none yet */
	size_t rooms[SLOT_COUNT]; /* sizes of the maps */
	size_t sizes[SLOT_COUNT];
	size_t hosts_common; /* bytes of /etc/hosts before the line that names this machine */
	bool hosts_in_order; /* no line follows that one */
	int random_fd;	     /* /dev/random */
	int fastopen_fd; /* tcp_fastopen_key, if there is a key that clones would share; else -1 */
	int *freeze_fds; /* cgroup.freeze of every frozen group */
	size_t n_freeze;
};

/* Lay everything out, each time that the guest prepares for a snapshot.
 * Returns 0 or -errno with a sentence. */
int slots_prepare(struct slots *s, int cgroup_fd, struct mvm_error *err);

/*
 * Bring up to date what slots_prepare() has laid out in a guest that has run since.  This takes a
 * fraction of slots_prepare()'s time.
 *
 * Returns 0, or -ESTALE when slots_prepare() must run again: it never ran, or the guest has put
 * other files in the places or lines behind the one that a clone replaces.
 */
int slots_refresh(struct slots *s, int cgroup_fd);

/*
 * Give this clone its own identity: entropy and reseed, key of TCP Fast Open, clock,
 * hostname, machine-id, generation, boot id.  In this order, so that nothing random is made before
 * the entropy is in.
 */
int slots_apply(struct slots *s, const struct request *q, struct mvm_error *err);

/* Let all frozen processes run. */
int slots_thaw(struct slots *s);

/* Freeze the frozen groups again.  This takes the thaw's path through the kernel without
 * a thaw. */
int slots_stay_frozen(struct slots *s);

void slots_done(struct slots *s);

#endif
