/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_NET_NEWS_H
#define VMM_NET_NEWS_H

/* Reads reports of mvm-net.  A guest may have taken mvm-net over, so each value is checked. */

#include <jansson.h>

#include "vmm/vmm.h"

/*
 * Read {"refused": 7, "refusals": [{"target": "192.0.2.1", "port": 80, "protocol": "tcp",
 * "reason": "denied", "count": 3}, ...], "visited": true}.
 *
 *   known  how many were refused by the last report; becomes this one's
 *   ret    n_refused, n and visited
 *
 * Returns 0 or -EBADMSG.
 */
int net_news_read(json_t *doc, uint64_t *known, struct vmm_network_news *ret,
		  struct vmm_refusal refusals[VMM_REFUSALS_MAX]);

#endif
