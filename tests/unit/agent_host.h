/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UNIT_AGENT_HOST_H
#define UNIT_AGENT_HOST_H

/*
 * The agent in a child process, and a test that plays its host over a socket pair.
 */

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent.h"
#include "base/clock.h"
#include "net/agent.h"
#include "net/channel.h"
#include "net/wire.h"
#include "serve.h"

#define DEADLINE_MS 60000

struct host {
	struct channel c;
	pid_t agent;
	int64_t deadline_ns;
};

static inline _Noreturn void run_agent(int fd, bool is_vsock)
{
	struct agent a;
	int r = agent_init(&a, fd);
	a.port_is_vsock = is_vsock;
	if (r == 0)
		r = agent_serve(&a);
	if (a.workload_child.pid > 0)
		kill(-a.workload_child.pid, SIGKILL); /* in a guest, power_off() does this */
	agent_done(&a);
	exit(r == -EPIPE ? 0 : 1);
}

static inline int start_on(void **state, bool is_vsock)
{
	struct host *h = calloc(1, sizeof(*h));
	int fds[2];
	if (!h || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
		return -1;
	h->agent = fork();
	if (h->agent == 0) {
		close(fds[0]);
		free(h);
		run_agent(fds[1], is_vsock);
	}
	close(fds[1]);
	h->c.fd = fds[0];
	h->deadline_ns = clock_deadline_ns(DEADLINE_MS);
	*state = h;
	return 0;
}

static inline int start(void **state)
{
	return start_on(state, true);
}

/* Start an agent on a serial port, which waits a moment for a host that has hung up. */
static inline int start_on_a_port(void **state)
{
	return start_on(state, false);
}

/* Hang up; the agent then ends by itself. */
static inline int stop(void **state)
{
	struct host *h = *state;
	int status = -1;
	close(h->c.fd);
	channel_done(&h->c);
	pid_t pid = waitpid(h->agent, &status, 0);
	free(h);
	return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

static inline void receive(struct host *h, struct frame *f)
{
	for (;;) {
		int r = channel_receive(&h->c, f);
		assert_true(r >= 0);
		if (r > 0)
			return;
		short events = POLLIN | (channel_wants_write(&h->c) ? POLLOUT : 0);
		struct pollfd p = { .fd = h->c.fd, .events = events };
		assert_int_equal(poll(&p, 1, clock_remaining_ms(h->deadline_ns)), 1);
		if (p.revents & POLLOUT)
			assert_int_equal(channel_flush(&h->c), 0);
	}
}

static inline void receive_type(struct host *h, struct frame *f, uint8_t type, uint32_t stream)
{
	receive(h, f);
	assert_int_equal(f->type, type);
	assert_int_equal(f->stream, stream);
}

static inline void put_args(struct strbuf *b, const char *const *args)
{
	for (; *args; args++)
		wire_put_str(b, FIELD_ARG, *args);
}

static inline void call(struct host *h, uint32_t stream, uint64_t number, const struct strbuf *more)
{
	AUTO_DONE(strbuf) b = { 0 };
	wire_put_u64(&b, FIELD_CALL, number);
	if (more)
		strbuf_add(&b, more->data, more->len);
	assert_int_equal(channel_send(&h->c, FRAME_CALL, stream, b.data, b.len), 0);
}

static inline uint64_t number_in(const struct frame *f, uint16_t tag)
{
	struct wire_field field;
	uint64_t value;
	assert_int_equal(wire_find(f->payload, f->len, tag, &field), 1);
	assert_int_equal(wire_get_u64(&field, &value), 0);
	return value;
}

static inline uint64_t reply_status(struct host *h, uint32_t stream)
{
	struct frame f;
	receive_type(h, &f, FRAME_REPLY, stream);
	return number_in(&f, FIELD_STATUS);
}

static inline void hello(struct host *h)
{
	struct frame f;
	receive_type(h, &f, FRAME_HELLO, 0);
	assert_int_equal(number_in(&f, FIELD_PROTOCOL), AGENT_PROTOCOL);
}

static inline void configured_with(struct host *h, const char *const *args)
{
	AUTO_DONE(strbuf) b = { 0 };
	hello(h);
	put_args(&b, args);
	wire_put_str(&b, FIELD_ENV, "COLOUR=blue");
	/* a user that exists everywhere: the one that runs the tests */
	AUTO_FREE char *uid = str_printf("%u", (unsigned)getuid());
	wire_put_str(&b, FIELD_USER, uid);
	call(h, 1, CALL_CONFIGURE, &b);
	assert_int_equal(reply_status(h, 1), 0);
}

static inline void configured(struct host *h)
{
	configured_with(h, (const char *const[]){ "sleep", "1000", NULL });
}

static inline void start_command(struct host *h, uint32_t stream, bool with_stdin,
				 const char *script)
{
	AUTO_DONE(strbuf) b = { 0 };
	const char *const args[] = { "sh", "-c", script, NULL };
	AUTO_FREE char *uid = str_printf("%u", (unsigned)getuid());
	put_args(&b, args);
	wire_put_str(&b, FIELD_USER, uid);
	wire_put_u64(&b, FIELD_STDIN, with_stdin);
	call(h, stream, CALL_EXEC, &b);
}

static inline void credit(struct host *h, uint32_t stream, size_t n)
{
	uint32_t le = htole32((uint32_t)n);
	assert_int_equal(channel_send(&h->c, FRAME_CREDIT, stream, &le, sizeof(le)), 0);
}

struct outcome {
	struct strbuf out[3];
	uint64_t code;
};
static inline void outcome_done(struct outcome *o)
{
	for (size_t i = 0; i < 3; i++)
		strbuf_done(&o->out[i]);
}
DEFINE_AUTO_DONE(outcome, outcome_done)

/* Collect output until END; returns the field that tells how the command ended. */
static inline uint16_t collect(struct host *h, uint32_t stream, struct outcome *ret)
{
	struct frame f;
	for (;;) {
		receive(h, &f);
		if (f.stream != stream || f.type == FRAME_CREDIT)
			continue;
		if (f.type == FRAME_END) {
			struct wire_field field;
			uint16_t tag = FIELD_EXIT_CODE;
			if (wire_find(f.payload, f.len, tag, &field) == 0)
				tag = FIELD_SIGNAL;
			ret->code = number_in(&f, tag);
			return tag;
		}
		assert_int_equal(f.type, FRAME_DATA);
		assert_in_range(f.payload[0], DATA_STDOUT, DATA_STDERR);
		strbuf_add(&ret->out[f.payload[0]], f.payload + 1, f.len - 1);
		if (f.len > 1)
			credit(h, stream, f.len - 1);
	}
}

#endif
