/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SUPERVISOR_COPY_WALLS_H
#define SUPERVISOR_COPY_WALLS_H

/*
 * The walls around the process that copies volumes, which unpacks what a guest sends.
 *
 * Landlock leaves it the volumes, and a list of system calls what copying takes: no other file, no
 * process, no socket, no signal but to itself, no owner of a file.  What Landlock does not know, it
 * may still do anywhere: ask for a file's size and times, read a link, and, with the right to,
 * change times.
 */

#include "instance/volume.h"

/* Of address space.  What the guest sends takes some MiB.  The names of a folder of the host take
 * more: about 310 bytes each, so three million in one folder fit. */
#define COPY_MEMORY_MAX ((uint64_t)1 << 30)

/*
 * Enter them, with no descriptor open but those that the copy needs.
 *
 *   back  from the guest: the places may be written to
 *
 * Returns 0 or -errno.
 */
int copy_walls_enter(const struct volume_places *places, bool back);

#endif
