/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_OOM_H
#define VMM_OOM_H

/*
 * Did the kernel kill a VMM because memory ran out?
 *
 * The kernel tells nobody, but it counts: in the VMM's own cgroup (memory.events, oom_kill), if the
 * supervisor has made one, and for the whole host (/proc/vmstat, oom_kill), which includes every
 * cgroup and container.  The cgroup's count is certain.  The host's count may come from another
 * process.
 * Source: Linux Documentation/admin-guide/cgroup-v2.rst; mm/oom_kill.c, __oom_kill_process().
 */

#include <stdbool.h>
#include <stdint.h>

struct oom_watch {
	bool known;
	uint64_t host; /* the host's count before the VMM was started */
};

void oom_begin(struct oom_watch *w);

/*
 * Continue the sentence "was killed by signal 9" with the killer and the remedy.
 *
 *   cgroup  the VMM's own cgroup, which still exists; NULL: it has none
 *   ret     "" when the kernel did not kill it, as far as its counts tell
 */
#define OOM_TEXT_SIZE 384u
void oom_describe(const struct oom_watch *w, const char *cgroup, char ret[OOM_TEXT_SIZE]);

/* The count in the text of a memory.events file. */
uint64_t oom_kills_in(const char *memory_events);

#endif
