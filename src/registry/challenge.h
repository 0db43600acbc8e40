/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REGISTRY_CHALLENGE_H
#define REGISTRY_CHALLENGE_H

/*
 * Reads a registry's challenge: the header WWW-Authenticate.
 *
 * Source: RFC 9110, 11.6.1; the token authentication specification of Docker Registry.
 */

#include <stdbool.h>
#include <stddef.h>

#define CHALLENGE_VALUE_MAX 1024u

struct challenge {
	bool basic;			   /* a user name and a password */
	bool bearer;			   /* a token of the service at realm */
	char realm[CHALLENGE_VALUE_MAX];   /* of bearer; "" if it is missing */
	char service[CHALLENGE_VALUE_MAX]; /* of bearer; may be "" */
};

/*
 * Add one header's challenges.  A header may hold several, and an answer may have several headers;
 * the first Bearer counts.  A header that makes no sense adds what stands before the fault.  A
 * value with a control character, or of CHALLENGE_VALUE_MAX bytes and more, is left out.
 */
void challenge_add(struct challenge *c, const char *header, size_t len);

#endif
