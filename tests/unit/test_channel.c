/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/channel.h"

struct pair {
	int fds[2];
	struct channel c; /* reads and writes fds[0] */
};

static int setup(void **state)
{
	struct pair *p = calloc(1, sizeof(*p));
	if (!p || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p->fds) < 0)
		return -1;
	p->c.fd = p->fds[0];
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct pair *p = *state;
	channel_done(&p->c);
	for (int i = 0; i < 2; i++) {
		if (p->fds[i] >= 0)
			close(p->fds[i]);
	}
	free(p);
	return 0;
}

static void a_frame_is_handed_out_when_its_last_byte_has_come(void **state)
{
	struct pair *p = *state;
	static const uint8_t bytes[] = { 3, 0, 0, 0, 9, 1, 0, 0, 4, 0, 0, 0, 'a', 'b', 'c' };
	struct frame f;

	for (size_t i = 0; i < sizeof(bytes); i++) {
		assert_int_equal(channel_receive(&p->c, &f), 0);
		assert_int_equal(write(p->fds[1], bytes + i, 1), 1);
	}
	assert_int_equal(channel_receive(&p->c, &f), 1);
	assert_int_equal(f.type, 4);
	assert_int_equal(f.stream, 0x109);
	assert_int_equal(f.len, 3);
	assert_memory_equal(f.payload, "abc", 3);
	assert_int_equal(channel_receive(&p->c, &f), 0);
}

static void frames_that_arrive_together_are_delivered_one_by_one(void **state)
{
	struct pair *p = *state;
	AUTO_DONE(channel) other = { .fd = p->fds[1] };
	struct frame f;

	for (uint32_t i = 1; i <= 5; i++)
		assert_int_equal(channel_send(&other, 2, i, "x", 1), 0);
	for (uint32_t i = 1; i <= 5; i++) {
		assert_int_equal(channel_receive(&p->c, &f), 1);
		assert_int_equal(f.stream, i);
	}
	assert_int_equal(channel_receive(&p->c, &f), 0);
}

static void a_trimmed_channel_has_no_empty_buffers(void **state)
{
	struct pair *p = *state;
	AUTO_DONE(channel) other = { .fd = p->fds[1] };
	struct frame f;

	assert_int_equal(channel_send(&other, 2, 1, "x", 1), 0);
	assert_int_equal(channel_receive(&p->c, &f), 1);
	channel_trim(&p->c); /* keeps the incomplete frame */
	assert_memory_equal(f.payload, "x", 1);
	assert_int_equal(channel_receive(&p->c, &f), 0);
	channel_trim(&p->c);
	channel_trim(&other);
	assert_null(p->c.in.buf.data);
	assert_null(other.out.buf.data);
	assert_int_equal(channel_send(&other, 2, 1, "y", 1), 0);
	assert_int_equal(channel_receive(&p->c, &f), 1);
	assert_memory_equal(f.payload, "y", 1);
}

static void bad_headers_break_the_protocol(void **state)
{
	(void)state;
	static const uint8_t cases[][FRAME_HEADER_SIZE] = {
		{ 1, 0, 1, 0 }, /* longer than a frame may be */
		{ 0xff, 0xff, 0xff, 0xff },
		{ 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0 }, /* reserved bytes are not zero */
		{ 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 7 },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		void *one = NULL;
		struct frame f;
		assert_int_equal(setup(&one), 0);
		struct pair *p = one;
		assert_int_equal(write(p->fds[1], cases[i], sizeof(cases[i])), sizeof(cases[i]));
		assert_int_equal(channel_receive(&p->c, &f), -EPROTO);
		teardown(&one);
	}
}

static void the_largest_frame_passes(void **state)
{
	struct pair *p = *state;
	AUTO_DONE(channel) other = { .fd = p->fds[1] };
	AUTO_FREE char *data = malloc(FRAME_PAYLOAD_MAX);
	struct frame f;
	int r;

	memset(data, 'z', FRAME_PAYLOAD_MAX);
	assert_int_equal(channel_send(&other, 4, 1, data, FRAME_PAYLOAD_MAX), 0);
	while ((r = channel_receive(&p->c, &f)) == 0)
		assert_int_equal(channel_flush(&other), 0);
	assert_int_equal(r, 1);
	assert_int_equal(f.len, FRAME_PAYLOAD_MAX);
	assert_memory_equal(f.payload, data, FRAME_PAYLOAD_MAX);
}

static void frames_wait_for_the_peer_up_to_the_limit(void **state)
{
	struct pair *p = *state;
	char data[1000] = "";
	unsigned sent = 0, received = 0;
	struct frame f;
	int r;

	p->c.out_limit = 20000;
	while ((r = channel_send(&p->c, 4, 1, data, sizeof(data))) == 0)
		sent++;
	assert_int_equal(r, -ENOBUFS);
	assert_true(channel_wants_write(&p->c));
	assert_true(channel_queued(&p->c) <= 20000);

	AUTO_DONE(channel) other = { .fd = p->fds[1] };
	while (received < sent) {
		r = channel_receive(&other, &f);
		if (r == 0)
			assert_int_equal(channel_flush(&p->c), 0);
		else
			received++;
		assert_true(r >= 0);
	}
	assert_false(channel_wants_write(&p->c));
	assert_int_equal(channel_receive(&other, &f), 0);
}

static void bytes_read_from_a_pipe_become_frames(void **state)
{
	struct pair *p = *state;
	AUTO_DONE(channel) other = { .fd = p->fds[1] };
	static const size_t cases[] = { 1, 9, 10, 11, 79, 80, 500 };
	char data[500];
	int fds[2], sent;
	struct frame f;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)i;
	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	assert_int_equal(channel_send_from(&p->c, 4, 7, 1, fds[0], 100, 10, &sent), -EAGAIN);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t got = 0;
		assert_int_equal(write(fds[1], data, cases[i]), cases[i]);
		while (got < cases[i]) {
			ssize_t n = channel_send_from(&p->c, 4, 7, 1, fds[0], 95, 10, &sent);
			assert_int_equal(sent, 0);
			/* the payload of eight frames */
			assert_int_equal(n, cases[i] - got < 80 ? cases[i] - got : 80);
			for (size_t end = got + (size_t)n; got < end;) {
				assert_int_equal(channel_receive(&other, &f), 1);
				assert_int_equal(f.type, 4);
				assert_int_equal(f.stream, 7);
				assert_int_equal(f.payload[0], 1);
				assert_in_range(f.len, 2, 11);
				assert_memory_equal(f.payload + 1, data + got, f.len - 1);
				got += f.len - 1;
			}
		}
		assert_int_equal(channel_receive(&other, &f), 0);
	}
	p->c.out_limit = 1;
	assert_int_equal(write(fds[1], data, 3), 3);
	assert_int_equal(channel_send_from(&p->c, 4, 7, 1, fds[0], 95, 10, &sent), 3);
	assert_int_equal(sent, -ENOBUFS);
	close(fds[1]);
	assert_int_equal(channel_send_from(&p->c, 4, 7, 1, fds[0], 95, 10, &sent), 0);
	close(fds[0]);
}

static void an_endless_sender_does_not_occupy_its_reader(void **state)
{
	(void)state;
	AUTO_DONE(channel) c = { .fd = open("/dev/zero", O_RDONLY | O_CLOEXEC) };
	struct frame f;

	assert_true(c.fd >= 0);
	for (int turn = 0; turn < 3; turn++) {
		unsigned n = 0;
		int r;
		while ((r = channel_receive(&c, &f)) > 0) /* zeros are empty frames */
			n++;
		assert_int_equal(r, 0);
		assert_in_range(n, 32 * 32768 / FRAME_HEADER_SIZE - 1, 100000);
	}
	close(c.fd);
}

static void a_closed_peer_is_a_broken_pipe(void **state)
{
	struct pair *p = *state;
	struct frame f;

	assert_int_equal(write(p->fds[1], "\1\0", 2), 2);
	close(p->fds[1]);
	p->fds[1] = -1;
	assert_int_equal(channel_receive(&p->c, &f), -EPIPE);
	assert_int_equal(channel_send(&p->c, 1, 1, "x", 1), -EPIPE);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_frame_is_handed_out_when_its_last_byte_has_come),
		TEST(frames_that_arrive_together_are_delivered_one_by_one),
		TEST(a_trimmed_channel_has_no_empty_buffers),
		TEST(the_largest_frame_passes),
		TEST(bytes_read_from_a_pipe_become_frames),
		TEST(frames_wait_for_the_peer_up_to_the_limit),
		TEST(a_closed_peer_is_a_broken_pipe),
		cmocka_unit_test(bad_headers_break_the_protocol),
		cmocka_unit_test(an_endless_sender_does_not_occupy_its_reader),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
