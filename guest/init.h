/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_INIT_H
#define GUEST_INIT_H

/*
 * Find an image's own init.  It must be PID 1 of the guest, whether the agent found it in the image
 * or the command names it.
 */

#include <stdbool.h>

#include "base/str.h"

/*
 * Does this command start an init?  Its name tells: /sbin/init may be a link to busybox, which is
 * no init by any other name.  A link to such a name is one too, and so is "busybox init".
 */
bool init_is_command(const struct strv *args);

/* The init of the image that was entered, for a guest without a command; NULL when it has none. */
const char *init_find(void);

#endif
