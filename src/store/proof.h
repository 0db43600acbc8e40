/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_PROOF_H
#define STORE_PROOF_H

/* Is there a thing in a data folder's subfolder that only mvm makes?  Its content is looked at: a
 * name alone is anybody's. */

#include <stdbool.h>

#include "base/str.h"

/* Is this a name of a subfolder of a data folder? */
bool proof_knows(const char *folder);

/*
 *   folder  its name
 *   fd      the subfolder
 *   names   what is in it
 */
bool proof_in(const char *folder, int fd, const struct strv *names);

#endif
