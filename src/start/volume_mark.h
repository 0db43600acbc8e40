/* SPDX-License-Identifier: Apache-2.0 */
#ifndef START_VOLUME_MARK_H
#define START_VOLUME_MARK_H

/*
 * The mark of a named volume: the empty file ".NAME" beside its folder.
 *
 * A start that names the volume writes the mark.  Without one, the folder may be anybody's, so it
 * is not removed.  The mark lies beside the folder, as everything in the folder goes into the
 * guest.
 */

#include <stdbool.h>

/* A failure does no harm: the next start that names the volume marks it. */
void volume_mark(int volumes_fd, const char *name);
bool volume_is_marked(int volumes_fd, const char *name);
void volume_unmark(int volumes_fd, const char *name);

#endif
