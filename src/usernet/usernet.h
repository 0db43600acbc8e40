/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_USERNET_H
#define USERNET_USERNET_H

/*
 * The network of one VM: its frames on one side, the host's sockets on the other, a policy between.
 *
 *	guest <-> VMM <-> link.c <-> gate.c <-> libslirp <-> sockets of the host
 *	                                    <-> resolver.c
 *
 * libslirp turns frames into sockets, as it does for QEMU's own user network.  It runs in a process
 * of its own, mvm-net.  So the VMM needs no socket, and the policy holds even if a guest has broken
 * into its VMM.
 *
 * The guest is 10.0.2.15/24, the host 10.0.2.2, the resolver 10.0.2.3; fec0::/64 the same.
 */

#include <mvm/error.h>
#include <stdint.h>

#include "usernet/config.h"

/*
 * Serve until the guest's side hangs up.
 *
 *   guest_fd    stream socket: frames, each after its length as four bytes, as QEMU's `socket`
 *               and `stream` netdev have it
 *   control_fd  sequenced packets: requests and replies (config.h); a reply with "ready" is the
 *               first
 *   route_fd    as route_open() gives it
 *
 * Returns 0, or -errno with the reason in err; the control channel has had it too.
 */
int usernet_run(const struct usernet_config *config, int guest_fd, int control_fd, int route_fd,
		struct mvm_error *err);

#endif
