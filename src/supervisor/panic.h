/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SUPERVISOR_PANIC_H
#define SUPERVISOR_PANIC_H

/*
 * Has the guest's kernel panicked, or ended in good order?  Read from its console.
 *
 * A guest that panics resets itself at once (panic=-1 on its command line).  So does a guest with a
 * triple fault.  No VMM can tell either from a shutdown.  Only the kernel's last line differs: a
 * panic prints its name, and an orderly end prints "reboot: Restarting system" or "Power down",
 * which a panic never does.  Both lines have the highest level, so `quiet` does not keep them off
 * the console.  A guest can forge such a line before it ends, but only its own record and restarts
 * depend on it.
 *
 * Source: Linux kernel/panic.c, panic(); kernel/reboot.c, kernel_restart() and emergency_restart().
 */

#include <stdbool.h>
#include <stddef.h>

#define PANIC_TEXT_MAX 200u

struct panic_watch {
	char line[512]; /* the beginning of the console's current line */
	size_t len;
	char text[PANIC_TEXT_MAX]; /* "sysrq triggered crash"; "": no panic */
	bool orderly;		   /* the kernel has announced an orderly end */
};

/* Take the console's next output. */
void panic_watch_add(struct panic_watch *w, const char *data, size_t len);

/* The kernel's text about its panic, printable; NULL: it has not panicked. */
const char *panic_watch_text(const struct panic_watch *w);

#endif
