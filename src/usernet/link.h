/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_LINK_H
#define USERNET_LINK_H

/*
 * Sends and receives frames over a stream socket.  Each follows its length, four bytes in network
 * order.
 *
 * Frames wait here until the VMM takes them.  When LINK_OUT_ENOUGH bytes wait, nobody reads the
 * host's sockets.  When LINK_OUT_FULL bytes wait, the guest's frames wait too, since each may cause
 * others.  A frame beyond LINK_OUT_MAX is lost, as on a wire.  So a guest that never reads stops
 * its own network.  A length that no frame has ends the link.
 *
 * Source: QEMU, net/net.c (net_fill_rstate).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

#define LINK_FRAME_MAX	65536u
#define LINK_OUT_ENOUGH ((size_t)256 << 10)
#define LINK_OUT_FULL	((size_t)1 << 20)
#define LINK_OUT_MAX	((size_t)2 << 20)

struct link {
	int fd; /* borrowed, non-blocking */
	struct strbuf out;
	size_t sent; /* of out */
	bool seeks;  /* the stream may begin within a frame: skip bytes that do not look like one */
	size_t in_len;
	uint64_t lost;
	uint8_t in[2 * LINK_FRAME_MAX];
};

typedef void (*link_frame_fn)(void *arg, const uint8_t *frame, size_t len);

/* How many bytes wait for the VMM. */
size_t link_waiting(const struct link *l);
bool link_is_full(const struct link *l);

/* Read bytes that have come, and call fn for each whole frame, until LINK_OUT_FULL bytes wait.
 * Returns 0, -EPIPE at the end, -EPROTO or -errno. */
int link_read(struct link *l, link_frame_fn fn, void *arg);

/* May link_read() go on at once, with a frame that has waited for room? */
bool link_has_frame(const struct link *l);

/* Queue a frame; link_flush() sends it. */
void link_write(struct link *l, const void *frame, size_t len);

/* Send as much as the socket takes.  Returns 0 or -errno. */
int link_flush(struct link *l);

#endif
