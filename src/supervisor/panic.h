/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SUPERVISOR_PANIC_H
#define SUPERVISOR_PANIC_H

/*
 * Has the guest's kernel panicked, or ended in good order?  Read from its console.
 *
 * A guest that panics resets itself at once (panic=-1 on its command line), and to every VMM that
 * looks like a guest that was shut down, and so does one with a triple fault.  The one difference
 * is what the kernel says last: a panic names itself, and an orderly end is announced by "reboot:
 * Restarting system" or "Power down", which a panic never says.  Both have the highest level, so no
 * `quiet` keeps them off the console.  A guest that prints such a line by itself and then ends is
 * told as it wants to be; only its own record and restarts depend on it.
 *
 * Source: Linux kernel/panic.c, panic(); kernel/reboot.c, kernel_restart() and emergency_restart().
 */

#include <stdbool.h>
#include <stddef.h>

#define PANIC_TEXT_MAX 200u

struct panic_watch {
	char line[512]; /* the beginning of the line that is being printed */
	size_t len;
	char text[PANIC_TEXT_MAX]; /* "sysrq triggered crash"; "" while there is none */
	bool orderly;		   /* the kernel has announced the end */
};

/* What the console has printed next. */
void panic_watch_add(struct panic_watch *w, const char *data, size_t len);

/* What the kernel said of its panic, printable; NULL when it has not panicked. */
const char *panic_watch_text(const struct panic_watch *w);

#endif
