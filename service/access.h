/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_ACCESS_H
#define SERVICE_ACCESS_H

/*
 * Who may ask for what.
 *
 * At a Unix socket the user that mvmd runs as and root may do everything, others nothing.  At TCP a
 * client shows a token, or a session of the console, whose scope must include the route's.
 *
 * A page of another site must not get at a socket of loopback through its visitor's browser.  It
 * would come with a name of its own for this address (DNS rebinding), so the Host header must name
 * this host; or with its own Origin, so that must be the Host's, or another port's of the same
 * sandbox.  At a Unix socket this holds for what has an Origin: a browser that comes through a
 * forwarded port.
 */

#include <mvm/error.h>

struct request;

/* May this client use the request's route?  Fills rq->client.  Returns 0, -EKEYREJECTED (401),
 * -EACCES (403), -EDQUOT (429), or an errno from reading the tokens. */
int access_check(struct request *rq, struct mvm_error *err);

/* Is what the request asks for, besides its route, for admins alone?  what: a message's beginning,
 * "'network_allow'".  0 or -EACCES. */
int access_check_admin(const struct request *rq, const char *what, struct mvm_error *err);

#endif
