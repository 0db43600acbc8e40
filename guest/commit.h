/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_COMMIT_H
#define GUEST_COMMIT_H

/*
 * The child that answers CALL_COMMIT: it freezes all processes but the agent's, and sends the root
 * file system to its standard output.  Its standard input is the image's folder, below the overlay.
 * The agent thaws the processes when the child ends (exec.c).
 *
 * The stream has one mount, the overlay: nothing that is mounted on it comes along, but what lies
 * below.  What mvm itself has written there, and the paths of the call's ARGs (volumes), come from
 * the image.
 */

#include "request.h"

/* Returns 0 or an errno, with a sentence on standard error. */
int commit_send(const struct request *q);

#endif
