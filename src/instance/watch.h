/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_WATCH_H
#define INSTANCE_WATCH_H

#include <mvm/error.h>
#include <stdbool.h>

/* Watch a folder for files that are written, made or moved there.  Returns a non-blocking
 * inotify(7) descriptor; the sentence of -EMFILE names the limit. */
int watch_folder(int dir_fd, struct mvm_error *err);

/* Drop all pending events.  Returns whether there were any. */
bool watch_drain(int watch_fd);

#endif
