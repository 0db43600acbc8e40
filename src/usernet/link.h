/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_LINK_H
#define USERNET_LINK_H

/*
 * Frames over a stream socket, each after its length as four bytes in network order.
 *
 * What the VMM does not take at once is kept up to LINK_OUT_MAX; a frame beyond that is lost, as on
 * a wire.  A length that no frame has ends the link.
 *
 * Source: QEMU, net/net.c (net_fill_rstate).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

#define LINK_FRAME_MAX 65536u
#define LINK_OUT_MAX   ((size_t)512 * 1024)

struct link {
	int fd; /* borrowed, non-blocking */
	struct strbuf out;
	bool seeks; /* the stream may begin within a frame: what looks like none is skipped */
	size_t in_len;
	uint64_t lost;
	uint8_t in[2 * LINK_FRAME_MAX];
};

typedef void (*link_frame_fn)(void *arg, const uint8_t *frame, size_t len);

/* Read what has come, and call fn for each whole frame.  Returns 0, -EPIPE at the end, -EPROTO or
 * -errno. */
int link_read(struct link *l, link_frame_fn fn, void *arg);

/* Queue a frame; link_flush() sends it. */
void link_write(struct link *l, const void *frame, size_t len);

/* Send as much as the socket takes.  Returns 0 or -errno. */
int link_flush(struct link *l);

#endif
