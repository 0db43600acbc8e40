/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames from a host to the agent about open streams: a command, a command on a terminal, and a
 * waiting health check.  The input becomes frames of any type but CALL: type and stream, length,
 * payload.  The agent would carry out calls; fuzz_wire parses those, and fuzz_channel the bytes of
 * frames.  Here the frames come without a channel: the target is linked with --wrap for
 * channel_receive(), channel_send() and channel_send_from(), since sending and receiving took most
 * of its time.  The commands are children of fake_children.h, and their pipes files of
 * fake_files.h.
 */
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent.h"
#include "fake_children.h"
#include "fake_files.h"
#include "net/agent.h"
#include "net/message.h"
#include "net/wire.h"
#include "serve.h"

#define TURNS	     8 /* of the agent's loop after the last frame, */
#define SILENT_TURNS 2 /* or so many without a word */
#define CALLS	     3u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int __wrap_channel_receive(struct channel *c, struct frame *ret);
int __wrap_channel_send(struct channel *c, uint8_t type, uint32_t stream, const void *payload,
			size_t len);
ssize_t __wrap_channel_send_from(struct channel *c, uint8_t type, uint32_t stream, uint8_t first,
				 int fd, size_t max, size_t piece, int *ret_sent);

/* The calls that open the streams 1 to 3; made once. */
static struct strbuf calls[CALLS];
static uint8_t sent;
static int ready_fd = -1; /* always readable: the agent asks for frames in each turn */

/* The host. */
static struct {
	const uint8_t *data;
	size_t size;
	unsigned open, next; /* streams to open, as bits; the next one */
	unsigned turns, silent;
} host;

static void make_call(unsigned stream, unsigned number, const char *program, bool tty)
{
	AUTO_DONE(strbuf) fields = { 0 };
	AUTO_FREE char *uid = str_printf("%u", (unsigned)getuid());
	wire_put_str(&fields, FIELD_ARG, program);
	wire_put_str(&fields, FIELD_USER, uid);
	wire_put_u64(&fields, FIELD_STDIN, 1);
	wire_put_u64(&fields, FIELD_TTY, tty);
	assert(message_put_call(&calls[stream - 1], number, &fields) == 0);
}

/* Take the input's next frame.  CALL: one that is left out. */
static bool take_frame(const uint8_t **data, size_t *size, struct frame *ret)
{
	const uint8_t *d = *data;
	if (*size < 3)
		return false;
	size_t len = (size_t)d[1] << 8 | d[2];
	len = len < *size - 3 ? len : *size - 3;
	*ret = (struct frame){
		.type = d[0] % 16, .stream = d[0] / 16 % 4, .len = (uint32_t)len, .payload = d + 3
	};
	*data += 3 + len;
	*size -= 3 + len;
	return true;
}

int __wrap_channel_receive(struct channel *c, struct frame *ret)
{
	(void)c;
	for (; host.next < CALLS; host.next++) {
		const struct strbuf *call = &calls[host.next];
		if (!(host.open & 1u << (host.next + 1)))
			continue;
		*ret = (struct frame){ .type = FRAME_CALL,
				       .stream = ++host.next,
				       .len = (uint32_t)call->len,
				       .payload = (const uint8_t *)call->data };
		return 1;
	}
	while (take_frame(&host.data, &host.size, ret)) {
		if (ret->type != FRAME_CALL)
			return 1;
	}
	return ++host.turns > TURNS || ++host.silent > SILENT_TURNS ? -EPIPE : 0;
}

int __wrap_channel_send(struct channel *c, uint8_t type, uint32_t stream, const void *payload,
			size_t len)
{
	(void)c;
	(void)type;
	(void)stream;
	/* a sanitizer looks at what is sent */
	sent ^= len > 0 ? ((const uint8_t *)payload)[0] ^ ((const uint8_t *)payload)[len - 1] : 0;
	host.silent = 0;
	return 0;
}

ssize_t __wrap_channel_send_from(struct channel *c, uint8_t type, uint32_t stream, uint8_t first,
				 int fd, size_t max, size_t piece, int *ret_sent)
{
	static char chunk[65536];
	(void)c;
	(void)type;
	(void)stream;
	(void)first;
	(void)piece;
	ssize_t n = read(fd, chunk, max < sizeof(chunk) ? max : sizeof(chunk));
	*ret_sent = 0;
	host.silent = 0;
	return n < 0 ? -errno : n;
}

/* The streams that the input names, as bits: a call costs a dozen system calls. */
static unsigned streams_of(const uint8_t *data, size_t size)
{
	unsigned named = 0;
	struct frame f;
	while (take_frame(&data, &size, &f))
		named |= f.type != FRAME_CALL ? 1u << f.stream : 0;
	return named;
}

static void prepare(void)
{
	ready_fd = fake_files_ready();
	make_call(1, CALL_EXEC, "cat", false);
	make_call(2, CALL_EXEC, "cat", true);
	make_call(3, CALL_HEALTH, "false", false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct agent a;

	if (ready_fd < 0)
		prepare();
	host.data = data;
	host.size = size;
	host.open = streams_of(data, size);
	host.next = host.turns = host.silent = 0;
	assert(agent_init(&a, ready_fd) == 0);
	a.port_is_vsock = true; /* so that the agent does not wait for a lost connection */
	a.configured = true;
	fake_children_begin(a.loop);
	assert(agent_serve(&a) < 0);
	fake_children_end();
	a.channel.fd = -1; /* it stays open */
	agent_done(&a);
	assert(fake_files_count() == 1); /* no descriptor is lost */
	return 0;
}
