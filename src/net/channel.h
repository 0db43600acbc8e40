/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_CHANNEL_H
#define NET_CHANNEL_H

/*
 * Frames over a non-blocking byte stream: the agent's port, and the control socket of an
 * instance, speak the same language (doc/agent-protocol.md).
 *
 * A frame is a 12 byte header (u32 payload length, u32 stream, u8 type, three zero bytes;
 * little-endian) and at most FRAME_PAYLOAD_MAX bytes.  A channel never blocks: what the peer
 * does not take yet waits in a queue with a limit, what has not fully arrived waits in a buffer
 * of one frame.  The owner watches the descriptor: for reading always, for writing while
 * channel_wants_write().
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/types.h>

#include "base/queue.h"

#define FRAME_HEADER_SIZE 12u
#define FRAME_PAYLOAD_MAX 65536u

struct frame {
	uint8_t type;
	uint32_t stream;
	uint32_t len;
	const uint8_t *payload; /* inside the channel, valid until the next channel_receive() */
};

struct channel {
	int fd;		  /* borrowed; non-blocking */
	bool is_file;	  /* no socket, as has turned out */
	struct queue in;  /* what arrived and was not handed out yet */
	size_t handed;	  /* bytes at its front: the frame that was handed out last */
	unsigned reads;	  /* since channel_receive() said 0 */
	struct queue out; /* what the peer has not taken yet */
	size_t out_limit; /* -ENOBUFS beyond; 0: CHANNEL_OUT_DEFAULT */
};

#define CHANNEL_OUT_DEFAULT (4u << 20)
#define CHANNEL_READS_MAX   32u /* of up to 32 KiB */

/*
 * Take what the kernel has, hand out the next whole frame.
 *
 * Returns 1 with a frame, 0 when it is time to wait for the descriptor, -EPIPE when the peer has
 * closed, -EPROTO on a bad header, or -errno.  A peer that never stops does not keep its reader
 * from everything else: after CHANNEL_READS_MAX reads the answer is 0, and the descriptor readable.
 */
int channel_receive(struct channel *c, struct frame *ret);

/* Queue a frame and write what the kernel takes.  Returns 0, -ENOBUFS (over the limit, nothing
 * queued), -EPIPE or -errno.  len is at most FRAME_PAYLOAD_MAX. */
int channel_send(struct channel *c, uint8_t type, uint32_t stream, const void *payload, size_t len);

/*
 * Read from a descriptor and queue what comes as frames, without copying it, and write what the
 * kernel takes.
 *
 *   first  the first byte of each payload
 *   fd     pipe or terminal; one readv(2)
 *   max    bytes to read at most, not 0
 *   piece  bytes of it in a frame at most
 *
 * Returns how many bytes were read, 0 at the end, -EAGAIN and others from reading; *ret_sent is
 * what channel_send() would have returned, and 0 unless something was read.
 */
ssize_t channel_send_from(struct channel *c, uint8_t type, uint32_t stream, uint8_t first, int fd,
			  size_t max, size_t piece, int *ret_sent);

/* Write more of the queue.  Returns 0, -EPIPE or -errno. */
int channel_flush(struct channel *c);

/* Bytes that wait for the peer. */
static inline size_t channel_queued(const struct channel *c)
{
	return queue_len(&c->out);
}

static inline bool channel_wants_write(const struct channel *c)
{
	return channel_queued(c) > 0;
}

/* What its owner's loop is to watch the descriptor for. */
static inline uint32_t channel_events(const struct channel *c)
{
	return channel_wants_write(c) ? EPOLLIN | EPOLLOUT : EPOLLIN;
}

/* Give back the memory of buffers that hold nothing; for owners of many channels that are mostly
 * idle.  A frame that is handed out stays. */
void channel_trim(struct channel *c);

void channel_done(struct channel *c); /* frees the buffers, leaves fd open */
DEFINE_AUTO_DONE(channel, channel_done)

#endif
