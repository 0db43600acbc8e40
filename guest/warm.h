/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_WARM_H
#define GUEST_WARM_H

/*
 * Read a workload's files into the page cache before the snapshot.  Clones, which start the
 * workload, then find these pages in the snapshot and share them.  The workload itself does not
 * run.
 */

#include "agent.h"

/* Read the program that the agent will start, its interpreter and libraries, and the files that its
 * arguments name; at most an eighth of the memory.  Clones read the files that fail here. */
void warm_workload(struct agent *a);

/* Read what most commands need: the folders on PATH, the image's shell and its libraries. */
void warm_commands(struct agent *a);

/* Read from the image's disk past the cache, as the first run of a command does. */
void warm_disk(struct agent *a);

/* For tests: the path in a line of `ld.so --list`, with its end cut off; NULL: there is none. */
char *warm_library(char *line);

#endif
