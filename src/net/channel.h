/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_CHANNEL_H
#define NET_CHANNEL_H

/*
 * Frames over a non-blocking byte stream.  The agent's port and an instance's control socket use
 * the same frames (doc/agent-protocol.md).
 *
 * A frame is a 12 byte header (u32 payload length, u32 stream, u8 type, three zero bytes;
 * little-endian) and at most FRAME_PAYLOAD_MAX bytes.  A channel never blocks: unsent bytes wait in
 * a queue with a limit, and an incomplete frame waits in a buffer of one frame.  The owner watches
 * the descriptor: for reading always, for writing while channel_wants_write().
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
	bool is_file;	  /* not a socket: a send() failed with ENOTSOCK */
	struct queue in;  /* received bytes, not yet handed out */
	size_t handed;	  /* bytes at its front: the frame that was handed out last */
	unsigned reads;	  /* since channel_receive() last returned 0 */
	struct queue out; /* bytes that the peer has not taken yet */
	size_t out_limit; /* -ENOBUFS beyond; 0: CHANNEL_OUT_DEFAULT */
};

#define CHANNEL_OUT_DEFAULT (4u << 20)
#define CHANNEL_READS_MAX   32u /* of up to 32 KiB */

/*
 * Read from the kernel, and hand out the next whole frame.
 *
 * Returns 1 with a frame, 0 when it is time to wait for the descriptor, -EPIPE when the peer has
 * closed, -EPROTO on a bad header, or -errno.  A peer that never stops sending does not starve its
 * reader's other work: after CHANNEL_READS_MAX reads this returns 0, and the descriptor stays
 * readable.
 */
int channel_receive(struct channel *c, struct frame *ret);

/* Queue a frame and write what the kernel takes.  Returns 0, -ENOBUFS (over the limit, nothing
 * queued), -EPIPE or -errno.  len is at most FRAME_PAYLOAD_MAX. */
int channel_send(struct channel *c, uint8_t type, uint32_t stream, const void *payload, size_t len);

/*
 * Read from a descriptor, queue the bytes as frames without copying them, and write what the kernel
 * takes.
 *
 *   first  the first byte of each payload
 *   fd     pipe or terminal; one readv(2)
 *   max    bytes to read at most, not 0
 *   piece  at most this many of the bytes in one frame
 *
 * Returns how many bytes were read, 0 at the end, -EAGAIN and others from reading.  *ret_sent is 0
 * or an error, as channel_send() returns it; it is 0 when nothing was read.
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

/* Events of the descriptor that the owner's loop must watch. */
static inline uint32_t channel_events(const struct channel *c)
{
	return channel_wants_write(c) ? EPOLLIN | EPOLLOUT : EPOLLIN;
}

/* Free the memory of empty buffers, for owners of many channels that are mostly idle.  The frame
 * that was handed out last stays valid. */
void channel_trim(struct channel *c);

void channel_done(struct channel *c); /* frees the buffers, leaves fd open */
DEFINE_AUTO_DONE(channel, channel_done)

#endif
