/* SPDX-License-Identifier: Apache-2.0 */
/* Relays and links over the loopback interface, without namespaces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/sock.h"
#include "vmm/netns/netns.h"
#include "vmm/netns/relay.h"

/* The server that the relay leads to, and the relay. */
static struct {
	struct loop *loop;
	struct relay *relay;
	int server_fd;
	struct sockaddr_in server, front;
	int dial_fails;
} T;

static int bound(int type, struct sockaddr_in *ret)
{
	socklen_t len = sizeof(*ret);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	*ret = (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	assert_int_equal(bind(fd, (struct sockaddr *)ret, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)ret, &len), 0);
	return fd;
}

static int open_to_all(int type, struct sockaddr_in *ret)
{
	int fd = bound(type, ret);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 64), 0);
	return fd;
}

static int dial(void *arg, int type)
{
	(void)arg;
	if (T.dial_fails)
		return T.dial_fails;
	int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	connect(fd, (struct sockaddr *)&T.server, sizeof(T.server)); /* may complete later */
	return fd;
}

static void open_relay(int type, size_t max)
{
	assert_int_equal(loop_new(&T.loop), 0);
	T.dial_fails = 0;
	T.server_fd = open_to_all(type, &T.server);
	assert_int_equal(relay_new(T.loop, open_to_all(type, &T.front), type == SOCK_DGRAM, max,
				   dial, NULL, &T.relay),
			 0);
}

static void close_relay(void)
{
	relay_free(TAKE_PTR(T.relay));
	loop_free(TAKE_PTR(T.loop));
	close(T.server_fd);
}

static int client(int type)
{
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&T.front, sizeof(T.front)), 0);
	return fd;
}

/* Run the loop for a short turn, since data that arrives at our own ends does not wake it. */
static void turn(int64_t deadline_ns)
{
	int r = loop_run_once(T.loop, clock_deadline_ns(20));
	assert_true(r == 0 || r == -ETIMEDOUT);
	assert_true(clock_now_ns() < deadline_ns);
}

/* Run the loop until something, or the end, has come at fd. */
static ssize_t receive_from(int fd, char *buffer, size_t len, struct sockaddr_in *ret_from)
{
	int64_t deadline_ns = clock_deadline_ns(60000);
	socklen_t from_len = sizeof(*ret_from);
	for (;;) {
		ssize_t n = recvfrom(fd, buffer, len, MSG_DONTWAIT, (struct sockaddr *)ret_from,
				     ret_from ? &from_len : NULL);
		if (n >= 0 || errno != EAGAIN)
			return n;
		turn(deadline_ns);
	}
}

static ssize_t receive(int fd, char *buffer, size_t len)
{
	return receive_from(fd, buffer, len, NULL);
}

static int accept_one(void)
{
	int64_t deadline_ns = clock_deadline_ns(60000);
	int fd;
	while ((fd = sock_accept(T.server_fd)) == -EAGAIN)
		turn(deadline_ns);
	return fd;
}

static void more_connections_than_allowed_wait(void **state)
{
	(void)state;
	char got[8];
	open_relay(SOCK_STREAM, 2);
	int a = client(SOCK_STREAM), a_end = accept_one();
	int b = client(SOCK_STREAM), b_end = accept_one();
	int c = client(SOCK_STREAM);
	assert_int_equal(send(c, "c", 1, 0), 1);
	for (int turns = 0; turns < 3; turns++)
		assert_int_equal(loop_run_once(T.loop, clock_now_ns()), -ETIMEDOUT);
	assert_int_equal(sock_accept(T.server_fd), -EAGAIN);
	assert_int_equal(recv(c, got, 1, MSG_DONTWAIT), -1); /* nobody has hung up either */

	close(a); /* makes room as soon as the other side ends, too */
	assert_int_equal(receive(a_end, got, sizeof(got)), 0);
	close(a_end);
	int c_end = accept_one();
	assert_int_equal(receive(c_end, got, sizeof(got)), 1);
	close(b);
	close(b_end);
	close(c);
	close(c_end);
	close_relay();
}

static void half_of_a_connection_may_end_before_the_other(void **state)
{
	(void)state;
	char got[8];
	open_relay(SOCK_STREAM, 2);
	int a = client(SOCK_STREAM), end = accept_one();
	assert_int_equal(send(a, "ask", 3, 0), 3);
	assert_int_equal(shutdown(a, SHUT_WR), 0);
	assert_int_equal(receive(end, got, sizeof(got)), 3);
	assert_int_equal(receive(end, got, sizeof(got)), 0);
	assert_int_equal(send(end, "answer", 6, 0), 6);
	close(end);
	assert_int_equal(receive(a, got, sizeof(got)), 6);
	assert_int_equal(receive(a, got, sizeof(got)), 0);
	close(a);
	close_relay();
}

static void a_connection_that_leads_nowhere_is_closed(void **state)
{
	(void)state;
	char got[8];
	open_relay(SOCK_STREAM, 2);
	T.dial_fails = -ENETUNREACH;
	int a = client(SOCK_STREAM);
	assert_int_equal(receive(a, got, sizeof(got)), 0);
	close(a);
	T.dial_fails = 0;
	close(T.server_fd);
	T.server_fd = bound(SOCK_STREAM, &T.server); /* not listening, so connections are refused */
	a = client(SOCK_STREAM);
	assert_int_equal(receive(a, got, sizeof(got)), 0);
	close(a);
	close_relay();
}

static void each_sender_gets_its_own_answer(void **state)
{
	(void)state;
	char got[8];
	int clients[4];
	struct sockaddr_in from;
	open_relay(SOCK_DGRAM, 2);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(clients); i++) {
		char text[2] = { (char)('0' + i), '\0' };
		clients[i] = client(SOCK_DGRAM);
		assert_int_equal(send(clients[i], text, 1, 0), 1);
		assert_int_equal(receive(T.server_fd, got, 0), 0); /* arrived; this drops it */
		assert_int_equal(send(clients[i], text, 1, 0), 1);
		assert_int_equal(receive_from(T.server_fd, got, sizeof(got), &from), 1);
		assert_int_equal(got[0], text[0]);
		assert_int_equal(
			sendto(T.server_fd, got, 1, 0, (struct sockaddr *)&from, sizeof(from)), 1);
		assert_int_equal(receive(clients[i], got, sizeof(got)), 1);
		assert_int_equal(got[0], text[0]);
	}
	for (size_t i = 0; i < MVM_ARRAY_SIZE(clients); i++)
		close(clients[i]);
	close_relay();
}

static void the_relay_waits_when_descriptors_run_out(void **state)
{
	(void)state;
	struct rlimit old, tight;
	char got[8];
	open_relay(SOCK_STREAM, 2);
	int a = client(SOCK_STREAM);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	tight = old;
	tight.rlim_cur = (rlim_t)a + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	/* it tries again without spinning: every second turn ends a pause of 100 ms */
	int64_t began_ns = clock_now_ns();
	for (int turns = 0; turns < 6; turns++)
		assert_int_equal(loop_run_once(T.loop, clock_deadline_ns(60000)), 0);
	assert_true(clock_now_ns() - began_ns >= 200 * NS_PER_MS);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	int end = accept_one();
	assert_int_equal(send(a, "late", 4, 0), 4);
	assert_int_equal(receive(end, got, sizeof(got)), 4);
	close(a);
	close(end);
	close_relay();
}

static void the_first_valid_name_server_counts(void **state)
{
	(void)state;
	static const struct {
		const char *text, *address;
	} cases[] = {
		{ "nameserver 192.0.2.1\nnameserver 192.0.2.2\n", "192.0.2.1" },
		{ "# nameserver 192.0.2.9\nsearch x\nnameserver\t192.0.2.3 # ours", "192.0.2.3" },
		{ "nameserver fe80::1%no-such\nnameserver 2001:db8::1\n", "2001:db8::1" },
		{ "nameserver foo\nnameserver 127.1\n", "127.0.0.1" },
		{ "nameserver fe80::1%1\n", "fe80::1" },
		{ "nameservers 192.0.2.1\n nameserver 192.0.2.1\nnameserver\n", NULL },
		{ "nameserver 192.0.2.1234567890123456789012345678901234567890", NULL },
		{ "", NULL },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		struct sockaddr_storage found;
		char address[INET6_ADDRSTRLEN];
		int r = netns_name_server(cases[i].text, &found);
		assert_int_equal(r, cases[i].address ? 0 : -ENOENT);
		if (r < 0)
			continue;
		const void *bytes = found.ss_family == AF_INET
					    ? (void *)&((struct sockaddr_in *)&found)->sin_addr
					    : (void *)&((struct sockaddr_in6 *)&found)->sin6_addr;
		assert_non_null(inet_ntop(found.ss_family, bytes, address, sizeof(address)));
		assert_string_equal(address, cases[i].address);
		assert_int_equal(ntohs(((struct sockaddr_in *)&found)->sin_port), 53);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(more_connections_than_allowed_wait),
		cmocka_unit_test(half_of_a_connection_may_end_before_the_other),
		cmocka_unit_test(a_connection_that_leads_nowhere_is_closed),
		cmocka_unit_test(each_sender_gets_its_own_answer),
		cmocka_unit_test(the_relay_waits_when_descriptors_run_out),
		cmocka_unit_test(the_first_valid_name_server_counts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
