/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_PROOF_H
#define STORE_PROOF_H

/* Does a data folder's subfolder hold a file that only mvm makes?  The file's content decides,
 * since other programs may use the name. */

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
