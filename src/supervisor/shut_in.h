/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SUPERVISOR_SHUT_IN_H
#define SUPERVISOR_SHUT_IN_H

/*
 * Splits a supervisor into its two processes (warden.h).
 *
 * The shut-in process has no file, no folder and no environment.  Of the kernel's calls it has a
 * short list: memory, time, and reading and writing open descriptors.  Run by root it has a uid of
 * its own and no capability.  It ends with the warden, and the warden and the VMM end with it.
 */

#include "base/error.h"

struct supervisor;

/*
 * Give s its warden: in another process, if the backend has two halves and given->apart asks for
 * it, else in this one.  The supervisor has loaded what it needs, and has read nothing of a guest.
 *
 * Returns in the shut-in process alone; the warden's ends by itself.
 */
int shut_in(struct supervisor *s, struct mvm_error *err);

/* Release a warden that is in this process. */
void shut_in_done(struct supervisor *s);

#endif
