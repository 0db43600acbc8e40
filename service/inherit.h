/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_INHERIT_H
#define SERVICE_INHERIT_H

/*
 * Descriptors that children do not have, not even until their exec: a child whose mvmd was killed
 * would keep an address from the next mvmd.
 */

/* From now on fork(3) closes fd in the child.  0, -ENOMEM or -EMFILE. */
int inherit_not(int fd);

/* fd is closed, or about to be. */
void inherit_forget(int fd);

#endif
