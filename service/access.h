/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_ACCESS_H
#define SERVICE_ACCESS_H

/* Who may ask for what. */

#include <mvm/error.h>

struct request;

/*
 * May this client use the request's route?
 *
 * At a Unix socket the user that mvmd runs as and root may do everything, others nothing.  TCP
 * needs a Host header that names this host, so that a page of another site cannot reach it by a
 * name of its own (DNS rebinding).
 *
 * Returns 0, -EKEYREJECTED (401) or -EACCES (403).
 */
int access_check(struct request *rq, struct mvm_error *err);

#endif
