/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/sock.h"
#include "scratch.h"

static int accept_one(int listener)
{
	struct pollfd pfd = { .fd = listener, .events = POLLIN };
	assert_int_equal(poll(&pfd, 1, 60000), 1);
	return sock_accept(listener);
}

static void a_pair_talks_and_is_not_inherited(void **state)
{
	(void)state;
	int pair[2];
	char buf[4] = "";
	assert_int_equal(sock_pair(pair), 0);
	assert_int_equal(write(pair[0], "abc", 3), 3);
	assert_int_equal(read(pair[1], buf, 3), 3);
	assert_string_equal(buf, "abc");
	for (int i = 0; i < 2; i++) {
		assert_int_equal(fcntl(pair[i], F_GETFD), FD_CLOEXEC);
		close(pair[i]);
	}
}

static void a_listener_is_found_below_any_long_path(void **state)
{
	int dir = dup(scratch_fd(state));
	uid_t uid = 4711;
	struct stat st;
	char buf[3] = "";

	for (int i = 0; i < 10; i++) {
		int next = dir_make_at(dir, "a-folder-with-a-rather-long-name-to-fill-sun_path");
		close(dir);
		dir = next;
		assert_true(dir >= 0);
	}
	AUTO_CLOSE int listener = sock_listen_at(dir, "control.sock");
	assert_true(listener >= 0);
	assert_int_equal(fstatat(dir, "control.sock", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(sock_accept(listener), -EAGAIN);

	AUTO_CLOSE int client = sock_connect_at(dir, "control.sock");
	assert_true(client >= 0);
	AUTO_CLOSE int server = accept_one(listener);
	assert_true(server >= 0);
	assert_true(fcntl(server, F_GETFL) & O_NONBLOCK);
	assert_int_equal(fcntl(server, F_GETFD), FD_CLOEXEC);
	assert_int_equal(sock_peer_uid(server, &uid), 0);
	assert_int_equal(uid, getuid());
	assert_int_equal(sock_peer_uid(client, &uid), 0);
	assert_int_equal(write(client, "hi", 2), 2);
	assert_int_equal(read(server, buf, 2), 2);
	assert_string_equal(buf, "hi");
	close(dir);
}

static void a_name_that_exists_is_not_bound_again(void **state)
{
	int dir = scratch_fd(state);
	AUTO_CLOSE int listener = sock_listen_at(dir, "s");
	assert_true(listener >= 0);
	assert_int_equal(sock_listen_at(dir, "s"), -EADDRINUSE);
}

static void a_missing_listener_differs_from_a_missing_socket(void **state)
{
	int dir = scratch_fd(state);
	int listener = sock_listen_at(dir, "s");
	close(listener);
	assert_int_equal(sock_connect_at(dir, "s"), -ECONNREFUSED);
	assert_int_equal(sock_connect_at(dir, "none"), -ENOENT);
}

static void a_name_that_is_too_long_is_refused_not_cut(void **state)
{
	char name[200];
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(sock_listen_at(scratch_fd(state), name), -ENAMETOOLONG);
	assert_int_equal(sock_connect_at(scratch_fd(state), name), -ENAMETOOLONG);
}

static void a_descriptor_travels_with_its_byte(void **state)
{
	int dir = scratch_fd(state), pair[2];
	char text[6] = "";
	assert_int_equal(file_create_at(dir, "f", "hello", 5, 0600), 0);
	AUTO_CLOSE int file = openat(dir, "f", O_RDONLY | O_CLOEXEC);
	assert_int_equal(sock_pair(pair), 0);
	assert_int_equal(sock_receive_fd(pair[1]), -EAGAIN);
	assert_int_equal(sock_send_fd(pair[0], "x", 1, file), 0);
	AUTO_CLOSE int got = sock_receive_fd(pair[1]);
	assert_true(got >= 0);
	assert_int_equal(fcntl(got, F_GETFD), FD_CLOEXEC);
	assert_int_equal(read(got, text, 5), 5);
	assert_string_equal(text, "hello");
	assert_int_equal(write(pair[0], "x", 1), 1);
	assert_int_equal(sock_receive_fd(pair[1]), -EPROTO);
	close(pair[1]);
	assert_int_equal(sock_send_fd(pair[0], "x", 1, file), -EPIPE); /* and no SIGPIPE */
	close(pair[0]);
}

#define T(test) cmocka_unit_test_setup_teardown(test, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_pair_talks_and_is_not_inherited),
		T(a_listener_is_found_below_any_long_path),
		T(a_name_that_exists_is_not_bound_again),
		T(a_missing_listener_differs_from_a_missing_socket),
		T(a_name_that_is_too_long_is_refused_not_cut),
		T(a_descriptor_travels_with_its_byte),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
