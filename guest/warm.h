/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_WARM_H
#define GUEST_WARM_H

/*
 * Files into the page cache, for a workload that is to start in clones of this guest: their pages
 * are in the snapshot then, and shared.  Nothing of the workload runs.
 */

#include "agent.h"

/* The program that the agent is to start, its interpreter and libraries, and the files that its
 * arguments name; an eighth of the memory at most.  What cannot be read is read by the clones. */
void warm_workload(struct agent *a);

/* For tests: the path in a line of `ld.so --list`, with its end cut off; NULL: there is none. */
char *warm_library(char *line);

#endif
