/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_ACCESS_H
#define SERVICE_ACCESS_H

/*
 * Who may ask for what.
 *
 * At a Unix socket the user that mvmd runs as and root may do everything, others nothing.  At TCP a
 * client shows a token, whose scope must include the route's.
 *
 * A page of another site must not get at a socket of loopback through its visitor's browser.  It
 * would come with a name of its own for this address (DNS rebinding), so the Host header must name
 * this host; or with its own Origin, so that must be the Host's.
 */

#include <mvm/error.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

struct request;

/* May this client use the request's route?  Fills rq->client.  Returns 0, -EKEYREJECTED (401),
 * -EACCES (403), -EDQUOT (429), or an errno from reading the tokens. */
int access_check(struct request *rq, struct mvm_error *err);

/* ---- parsers, without a request; for tests ---- */

/* The secret in "Bearer SECRET", or NULL. */
const char *access_bearer(const char *authorization);

/*
 * Does a Host header name this host: "localhost" and names below it, numeric addresses, and one of
 * `more` or a name below it?  With a port or without.
 */
bool access_host_is_ours(const char *host, const struct strv *more);

/* Is an Origin header, "http://localhost:8080", that of the Host header? */
bool access_origin_is_host(const char *origin, const char *host);

#endif
