/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames from a host to the agent about open streams: a command, a command on a terminal, and a
 * waiting health check.  The input becomes frames of any type but CALL: type and stream, length,
 * payload.  The agent would carry out calls; fuzz_wire parses those.  The commands are children of
 * fake_children.h.
 */
#include <assert.h>
#include <endian.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent.h"
#include "base/sock.h"
#include "fake_children.h"
#include "net/agent.h"
#include "net/wire.h"
#include "serve.h"

#define TURNS	       8	   /* of the agent's loop, */
#define SILENT_TURNS   2	   /* or so many without a word */
#define INPUT_MAX_USED (16u << 10) /* with its headers it fits into the socket */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_frame(struct strbuf *b, uint8_t type, uint32_t stream, const void *payload,
		      size_t len)
{
	uint32_t le[2] = { htole32((uint32_t)len), htole32(stream) };
	strbuf_add(b, le, sizeof(le));
	strbuf_add(b, (const uint8_t[4]){ type }, 4);
	strbuf_add(b, payload, len);
}

static void put_call(struct strbuf *b, uint32_t stream, unsigned number, const char *program,
		     bool tty)
{
	AUTO_DONE(strbuf) fields = { 0 };
	AUTO_FREE char *uid = str_printf("%u", (unsigned)getuid());
	wire_put_u64(&fields, FIELD_CALL, number);
	wire_put_str(&fields, FIELD_ARG, program);
	wire_put_str(&fields, FIELD_USER, uid);
	wire_put_u64(&fields, FIELD_STDIN, 1);
	wire_put_u64(&fields, FIELD_TTY, tty);
	put_frame(b, FRAME_CALL, stream, fields.data, fields.len);
}

/* Put the input's frames; with NULL only look.  Returns the streams that they name, as bits. */
static unsigned put_input(struct strbuf *b, const uint8_t *data, size_t size)
{
	unsigned named = 0;
	while (size >= 3) {
		uint8_t type = data[0] % 16, stream = data[0] / 16 % 4;
		size_t len = (size_t)data[1] << 8 | data[2];
		data += 3;
		size -= 3;
		len = len < size ? len : size;
		named |= type != FRAME_CALL ? 1u << stream : 0;
		if (b && type != FRAME_CALL)
			put_frame(b, type, stream, data, len);
		data += len;
		size -= len;
	}
	return named;
}

/* The host: it reads all frames, and hangs up once all of its own were handled. */
struct host {
	int fd;
	unsigned turns, silent;
	struct loop_source *timer;
};

static void on_turn(void *arg)
{
	struct host *h = arg;
	static char chunk[65536]; /* ASan marks the stack's anew at each call */
	h->silent++;
	while (recv(h->fd, chunk, sizeof(chunk), MSG_DONTWAIT) > 0)
		h->silent = 0;
	if (++h->turns == TURNS || h->silent == SILENT_TURNS)
		shutdown(h->fd, SHUT_WR);
	else
		loop_source_arm(h->timer, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct agent a;
	int fds[2];

	if (size > INPUT_MAX_USED || sock_pair(fds) < 0)
		return 0;
	struct host host = { .fd = fds[1] };
	AUTO_DONE(strbuf) frames = { 0 };
	unsigned named = put_input(NULL, data, size); /* each call costs a dozen system calls */
	if (named & 1u << 1)
		put_call(&frames, 1, CALL_EXEC, "cat", false);
	if (named & 1u << 2)
		put_call(&frames, 2, CALL_EXEC, "cat", true);
	if (named & 1u << 3)
		put_call(&frames, 3, CALL_HEALTH, "false", false);
	put_input(&frames, data, size);
	/* in one send: the socket has room for the bytes, but not for as many pieces */
	assert(send(fds[1], frames.data, frames.len, MSG_DONTWAIT) == (ssize_t)frames.len);

	assert(fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0);
	assert(agent_init(&a, fds[0]) == 0);
	a.port_is_vsock = true; /* so that the agent does not wait for a lost connection */
	a.configured = true;
	fake_children_begin(a.loop);
	assert(loop_add_timer(a.loop, 0, on_turn, &host, &host.timer) == 0);
	assert(agent_serve(&a) < 0);
	loop_source_free(host.timer);
	fake_children_end();
	agent_done(&a);
	close(fds[1]);
	return 0;
}
