/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_PORT_H
#define GUEST_PORT_H

/* The way to the host: a named virtio-serial port, or, in a machine without virtio console,
 * vsock. */

#include <stdbool.h>
#include <stdint.h>

#include <mvm/error.h>

/* Open it.  Returns a non-blocking descriptor or -errno with a sentence. */
int port_open(int uevent_fd, int64_t deadline_ns, bool *ret_is_vsock, struct mvm_error *err);

/* Call the host over vsock, also again after a restore, which ends all vsock connections. */
int port_dial(struct mvm_error *err);

#endif
