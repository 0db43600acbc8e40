/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_STREAMS_H
#define CLI_STREAMS_H

/*
 * Standard output and standard error of a command that blocks signals.
 *
 * A reader that takes nothing (a full pipe, a stopped terminal) keeps a write waiting.  A signal
 * must end that wait as well, although it is blocked and read from a signalfd(2): else only SIGKILL
 * would end the command, and it would leave behind what it is about to undo.
 */

#include <signal.h>

/*
 * From here on a write to stdout or stderr waits for its reader only until one of these signals
 * comes, and then for a second more.  What its reader has not taken by then is lost, and the stream
 * has an error.  Call it before the signals are blocked.  Without memory or descriptors, writes
 * wait as before.
 */
void streams_heed(const sigset_t *signals);

/* A signal has come, and was read: writes wait no longer than a second from now. */
void streams_hurry(void);

#endif
