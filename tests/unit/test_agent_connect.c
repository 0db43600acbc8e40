/* SPDX-License-Identifier: Apache-2.0 */
/* CALL_CONNECT of the agent, in a child process: the test plays the host, and the guest's
 * server. */
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
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
	int listen_fd, server_fd;
	uint16_t port;
	int64_t deadline_ns;
};

static _Noreturn void run_agent(int fd)
{
	struct agent a;
	int r = agent_init(&a, fd);
	a.port_is_vsock = true;
	if (r == 0)
		r = agent_serve(&a);
	if (a.workload_child.pid > 0)
		kill(-a.workload_child.pid, SIGKILL);
	agent_done(&a);
	exit(r == -EPIPE ? 0 : 1);
}

static void receive(struct host *h, struct frame *f, uint8_t type)
{
	int r;
	while ((r = channel_receive(&h->c, f)) == 0) {
		struct pollfd p = { .fd = h->c.fd, .events = POLLIN };
		assert_int_equal(poll(&p, 1, clock_remaining_ms(h->deadline_ns)), 1);
	}
	assert_int_equal(r, 1);
	assert_int_equal(f->type, type);
}

static uint64_t number_in(const struct frame *f, uint16_t tag)
{
	struct wire_field field;
	uint64_t value;
	assert_int_equal(wire_find(f->payload, f->len, tag, &field), 1);
	assert_int_equal(wire_get_u64(&field, &value), 0);
	return value;
}

static uint64_t call(struct host *h, uint32_t stream, unsigned number, uint16_t port)
{
	AUTO_DONE(strbuf) b = { 0 };
	struct frame f;
	wire_put_u64(&b, FIELD_CALL, number);
	if (port)
		wire_put_u64(&b, FIELD_PORT, port);
	if (number == CALL_CONFIGURE) {
		wire_put_str(&b, FIELD_ARG, "sleep");
		wire_put_str(&b, FIELD_ARG, "1000");
		AUTO_FREE char *uid = str_printf("%u", (unsigned)getuid());
		wire_put_str(&b, FIELD_USER, uid);
	}
	assert_int_equal(channel_send(&h->c, FRAME_CALL, stream, b.data, b.len), 0);
	receive(h, &f, FRAME_REPLY);
	assert_int_equal(f.stream, stream);
	return number_in(&f, FIELD_STATUS);
}

static int listen_on(uint16_t *ret_port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 5), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	*ret_port = ntohs(a.sin_port);
	return fd;
}

static int start(void **state)
{
	struct host *h = calloc(1, sizeof(*h));
	int fds[2];
	struct frame f;
	if (!h || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
		return -1;
	h->agent = fork();
	if (h->agent == 0) {
		close(fds[0]);
		free(h);
		run_agent(fds[1]);
	}
	close(fds[1]);
	h->c.fd = fds[0];
	h->server_fd = -1;
	h->deadline_ns = clock_deadline_ns(DEADLINE_MS);
	h->listen_fd = listen_on(&h->port);
	receive(h, &f, FRAME_HELLO);
	assert_int_equal(call(h, 1, CALL_CONFIGURE, 0), 0);
	*state = h;
	return 0;
}

/* Open stream 2 to the server. */
static int connected(void **state)
{
	if (start(state) < 0)
		return -1;
	struct host *h = *state;
	assert_int_equal(call(h, 2, CALL_CONNECT, h->port), 0);
	h->server_fd = accept(h->listen_fd, NULL, NULL);
	return h->server_fd < 0 ? -1 : 0;
}

static int stop(void **state)
{
	struct host *h = *state;
	int status = -1;
	close(h->c.fd);
	channel_done(&h->c);
	close(h->listen_fd);
	if (h->server_fd >= 0)
		close(h->server_fd);
	pid_t pid = waitpid(h->agent, &status, 0);
	free(h);
	return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

static void input(struct host *h, const char *text)
{
	char data[64] = { DATA_STDIN };
	size_t n = strlen(text);
	memcpy(data + 1, text, n);
	assert_int_equal(channel_send(&h->c, FRAME_DATA, 2, data, n + 1), 0);
}

static void server_reads(const struct host *h, const char *text)
{
	char got[64] = "";
	size_t n = 0;
	while (n < strlen(text)) {
		ssize_t r = read(h->server_fd, got + n, sizeof(got) - 1 - n);
		assert_true(r > 0);
		n += (size_t)r;
	}
	assert_string_equal(got, text);
}

static void a_closed_port_is_refused(void **state)
{
	struct host *h = *state;
	uint16_t port;
	int fd = listen_on(&port);
	close(fd);
	assert_int_equal(call(h, 2, CALL_CONNECT, port), ECONNREFUSED);
	assert_int_equal(call(h, 3, CALL_CONNECT, 0), EINVAL);
}

static void bytes_go_both_ways_until_the_server_closes(void **state)
{
	struct host *h = *state;
	struct frame f;
	input(h, "question");
	server_reads(h, "question");
	assert_int_equal(write(h->server_fd, "answer", 6), 6);
	receive(h, &f, FRAME_DATA);
	assert_int_equal(f.len, 7);
	assert_memory_equal(f.payload, "\1answer", 7);
	assert_int_equal(shutdown(h->server_fd, SHUT_WR), 0);
	receive(h, &f, FRAME_END);
	assert_int_equal(number_in(&f, FIELD_EXIT_CODE), 0);
}

static void the_server_may_answer_after_the_end_of_the_input(void **state)
{
	struct host *h = *state;
	struct frame f;
	char end;
	input(h, "all");
	input(h, "");
	server_reads(h, "all");
	assert_int_equal(read(h->server_fd, &end, 1), 0);
	assert_int_equal(write(h->server_fd, "late", 4), 4);
	receive(h, &f, FRAME_DATA);
	assert_memory_equal(f.payload, "\1late", 5);
}

static void a_host_that_gives_no_credit_gets_one_window(void **state)
{
	struct host *h = *state;
	struct frame f;
	static char block[WINDOW_BYTES];
	size_t got = 0;
	int small = 65536;
	setsockopt(h->server_fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	assert_int_equal(write(h->server_fd, block, sizeof(block)), sizeof(block));
	assert_int_equal(write(h->server_fd, block, 1), 1);
	while (got < WINDOW_BYTES) {
		receive(h, &f, FRAME_DATA);
		got += f.len - 1;
	}
	assert_int_equal(got, WINDOW_BYTES);
	assert_int_equal(call(h, 3, CALL_PING, 0), 0); /* nothing came in between */
	uint32_t le = htole32(1);
	assert_int_equal(channel_send(&h->c, FRAME_CREDIT, 2, &le, sizeof(le)), 0);
	receive(h, &f, FRAME_DATA);
	assert_int_equal(f.len, 2);
}

static void a_reset_closes_the_connection(void **state)
{
	struct host *h = *state;
	struct frame f;
	char end;
	assert_int_equal(channel_send(&h->c, FRAME_RESET, 2, NULL, 0), 0);
	receive(h, &f, FRAME_END);
	assert_int_equal(number_in(&f, FIELD_SIGNAL), SIGKILL);
	assert_int_equal(read(h->server_fd, &end, 1), 0);
}

static void a_server_that_breaks_off_is_told(void **state)
{
	struct host *h = *state;
	struct frame f;
	struct linger now = { .l_onoff = 1 };
	assert_int_equal(setsockopt(h->server_fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
	close(h->server_fd);
	h->server_fd = -1;
	receive(h, &f, FRAME_END);
	assert_int_equal(number_in(&f, FIELD_EXIT_CODE), ECONNRESET);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_closed_port_is_refused, start, stop),
		cmocka_unit_test_setup_teardown(bytes_go_both_ways_until_the_server_closes,
						connected, stop),
		cmocka_unit_test_setup_teardown(the_server_may_answer_after_the_end_of_the_input,
						connected, stop),
		cmocka_unit_test_setup_teardown(a_host_that_gives_no_credit_gets_one_window,
						connected, stop),
		cmocka_unit_test_setup_teardown(a_reset_closes_the_connection, connected, stop),
		cmocka_unit_test_setup_teardown(a_server_that_breaks_off_is_told, connected, stop),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
