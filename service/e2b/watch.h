/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_E2B_WATCH_H
#define SERVICE_E2B_WATCH_H

struct e2b;

/* Free all watchers that clients have left. */
void watchers_free(struct e2b *e);

#endif
