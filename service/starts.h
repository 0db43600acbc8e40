/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_STARTS_H
#define SERVICE_STARTS_H

/*
 * Counts the starts and ends of instances, whoever asks for them: it follows the events of the data
 * folder.  A host without free inotify instances has no such counts; the log says so.
 */

struct server;

void starts_begin(struct server *s);

/* Before the workers end. */
void starts_end(struct server *s);

#endif
