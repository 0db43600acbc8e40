/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_NETWORK_H
#define GUEST_NETWORK_H

/* Loopback, the first network card and the name server (IPv4; netdevice(7), rtnetlink's older
 * sibling, is all that one address and one route need). */

#include <netinet/in.h>

#include <mvm/error.h>

#include "base/str.h"

/* "10.0.2.15/24" to address and netmask.  Returns 0 or -EINVAL. */
int network_parse_cidr(const char *text, struct in_addr *ret_address, struct in_addr *ret_mask);

/* Bring loopback up. */
int network_loopback(struct mvm_error *err);

/* Let users who are not root bind ports below 1024 and send pings. */
void network_open_to_users(void);

/* The last configuration; all zero: none. */
struct network {
	char *address, *gateway, *dns;
};
void network_done(struct network *n);

/*
 * Configure the card, or change it in a clone.
 *
 *   n        the present configuration; updated
 *   address  "10.0.2.15/24"; NULL: nothing but loopback is configured
 *   gateway  NULL: no default route
 *   dns      NULL: /etc/resolv.conf stays
 *
 * Changes only the differing parts, so that connections survive and a clone that keeps its twin's
 * addresses loses no time.
 */
int network_configure(struct network *n, const char *address, const char *gateway, const char *dns,
		      struct mvm_error *err);

#endif
