/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_WATCH_H
#define INSTANCE_WATCH_H

#include <mvm/error.h>
#include <stdbool.h>

/* Watch a folder for files that are written, made or moved there.  Returns an inotify(7)
 * descriptor, non-blocking; -EMFILE says which limit it was. */
int watch_folder(int dir_fd, struct mvm_error *err);

/* Forget what has happened.  Returns whether there was something. */
bool watch_drain(int watch_fd);

#endif
