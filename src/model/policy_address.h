/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_POLICY_ADDRESS_H
#define MODEL_POLICY_ADDRESS_H

/* Kinds of addresses, for policy.c.  policy.h declares those that others ask for, too. */

#include "model/policy.h"

/* Are the first `bits` bits of the address those of the range? */
bool policy_is_in(const struct policy_address *a, const uint8_t *range, unsigned bits);

/* No rule opens these: loopback, multicast, reserved. */
bool policy_is_never(const struct policy_address *a);

/* Only a rule for exactly the one address opens these. */
bool policy_is_link_local(const struct policy_address *a);

/* Does NAT64 translate it to the IPv4 address within?  Then only that one counts. */
bool policy_is_translated(const struct policy_address *a);

#endif
