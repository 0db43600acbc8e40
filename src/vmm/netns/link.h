/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_NETNS_LINK_H
#define VMM_NETNS_LINK_H

/*
 * A link passes bytes between two stream sockets, with a buffer of 64 KiB each way.  It passes the
 * end of one direction on as well; an error ends both.
 */

#include "base/loop.h"
#include "base/own.h"

struct link;

/*
 * Start to pass bytes.
 *
 *   a_fd, b_fd  non-blocking; one may still be connecting.  Taken over on success
 *   on_end      called once from the loop when both directions have ended; must free the link
 */
int link_new(struct loop *loop, int a_fd, int b_fd, void (*on_end)(void *arg, struct link *l),
	     void *arg, struct link **ret);

void link_free(struct link *l);
DEFINE_AUTO(link, link_free)

#endif
