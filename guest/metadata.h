/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_METADATA_H
#define GUEST_METADATA_H

/*
 * Words that a client keeps with a file: its extended attributes `user.e2b.KEY`, which other
 * programs of the guest may read and set as well.
 *
 * As text each is a line "KEY=VALUE".  All are printable ASCII.
 */

#include <mvm/error.h>

#include "base/str.h"

#define METADATA_MAX 4096u /* bytes of all keys and values of a file */

/* Add a file's lines.  It leaves out attributes that are no such line, and what is over
 * METADATA_MAX.  A link leads to its target's. */
void metadata_read(const char *path, struct strbuf *ret);

/* Replace a file's attributes by those of the lines.  fd must not be O_PATH. */
int metadata_write(int fd, const char *lines, struct mvm_error *err);

#endif
