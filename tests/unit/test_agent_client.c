/* SPDX-License-Identifier: Apache-2.0 */
/* The supervisor's end of the agent's channel, when the guest dials: once, and again after its
 * connection was lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "net/wire.h"
#include "supervisor/agent_client.h"

/* Returns our end. */
static int make_pair(int *ret_theirs)
{
	int fds[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
			 0);
	*ret_theirs = fds[1];
	return fds[0];
}

static int64_t soon(void)
{
	return clock_deadline_ns(60000);
}

/* The guest introduces itself on a connection. */
static void say_hello(struct agent_client *a, struct loop *loop, int fd)
{
	AUTO_DONE(strbuf) text = { 0 };
	AUTO_DONE(channel) guest = { .fd = fd };
	struct mvm_error err = { 0 };
	wire_put_u64(&text, FIELD_PROTOCOL, AGENT_PROTOCOL);
	assert_int_equal(channel_send(&guest, FRAME_HELLO, 0, text.data, text.len), 0);
	assert_int_equal(agent_client_wait_hello(a, loop, NULL, soon(), &err), 0);
}

/* The first channel keeps a frame until the guest dials. */
static void assert_waits(struct agent_client *a, int first)
{
	uint8_t got[FRAME_HEADER_SIZE + 8];
	assert_int_equal(agent_client_send(a, FRAME_DATA, 7, "early", 5), 0);
	assert_int_equal(recv(first, got, sizeof(got), 0), FRAME_HEADER_SIZE + 5);
}

static void an_agent_is_heard_again_when_its_connection_was_lost(void **state)
{
	(void)state;
	struct agent_client a = { 0 };
	AUTO(loop) loop = NULL;
	int first, lost, again;
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(agent_client_init(&a, loop, make_pair(&first)), 0);
	assert_waits(&a, first);
	assert_int_equal(agent_client_move_back(&a, loop), 0); /* it has not dialled yet */
	assert_int_equal(agent_client_move(&a, loop, make_pair(&lost)), 0);
	say_hello(&a, loop, lost);
	/* a part of a frame comes, and no more */
	assert_int_equal(send(lost, "part", 4, 0), 4);
	loop_run_once(loop, clock_deadline_ns(1));
	assert_int_equal(agent_client_move_back(&a, loop), 0);
	assert_int_equal(recv(lost, (char[1]){ 0 }, 1, 0), 0); /* hung up */
	assert_false(a.hello);
	assert_waits(&a, first);
	assert_int_equal(agent_client_move(&a, loop, make_pair(&again)), 0);
	say_hello(&a, loop, again);
	assert_string_equal(a.broken, "");
	agent_client_done(&a);
	assert_int_equal(recv(again, (char[1]){ 0 }, 1, 0), 0);
	assert_int_equal(recv(first, (char[1]){ 0 }, 1, 0), 0);
	close(first);
	close(lost);
	close(again);
}

/* Its agent has introduced itself before the capture, and does not again. */
static void what_was_held_goes_to_a_restored_guest_at_once(void **state)
{
	(void)state;
	struct agent_client a = { 0 };
	AUTO(loop) loop = NULL;
	uint8_t got[FRAME_HEADER_SIZE + 8];
	int guest;
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(agent_client_init(&a, loop, make_pair(&guest)), 0);
	agent_client_hold(&a);
	assert_int_equal(agent_client_send(&a, FRAME_DATA, 7, "early", 5), 0);
	assert_int_equal(recv(guest, got, sizeof(got), 0), -1);
	agent_client_release(&a);
	assert_int_equal(recv(guest, got, sizeof(got), 0), FRAME_HEADER_SIZE + 5);
	agent_client_done(&a);
	close(guest);
}

/* Hold a frame, lose the guest's channel, and give the frame free. */
static void release_before_the_guest_dials(struct agent_client *a, struct loop *loop, int *first,
					   int *lost)
{
	assert_int_equal(agent_client_init(a, loop, make_pair(first)), 0);
	assert_int_equal(agent_client_move(a, loop, make_pair(lost)), 0);
	say_hello(a, loop, *lost);
	agent_client_hold(a);
	assert_int_equal(agent_client_send(a, FRAME_DATA, 7, "early", 5), 0);
	assert_int_equal(agent_client_move_back(a, loop), 0);
	agent_client_release(a);
}

/* The guest may dial later than its freeze is given up. */
static void what_was_held_waits_for_the_agents_greeting(void **state)
{
	(void)state;
	struct agent_client a = { 0 };
	AUTO(loop) loop = NULL;
	uint8_t got[FRAME_HEADER_SIZE + 8];
	int first, lost, again;
	assert_int_equal(loop_new(&loop), 0);
	release_before_the_guest_dials(&a, loop, &first, &lost);
	assert_int_equal(recv(first, got, sizeof(got), 0), -1);
	assert_int_equal(agent_client_move(&a, loop, make_pair(&again)), 0);
	say_hello(&a, loop, again);
	assert_int_equal(recv(again, got, sizeof(got), 0), FRAME_HEADER_SIZE + 5);
	assert_false(a.quiet || a.holds);
	agent_client_done(&a);
	close(first);
	close(lost);
	close(again);
}

/* The guest of a fork dials so late that the next fork has begun. */
static void what_was_held_waits_for_the_end_of_the_next_silence(void **state)
{
	(void)state;
	struct agent_client a = { 0 };
	AUTO(loop) loop = NULL;
	uint8_t got[FRAME_HEADER_SIZE + 8];
	int first, lost, again;
	assert_int_equal(loop_new(&loop), 0);
	release_before_the_guest_dials(&a, loop, &first, &lost);
	agent_client_hold(&a);
	assert_int_equal(agent_client_move(&a, loop, make_pair(&again)), 0);
	say_hello(&a, loop, again);
	assert_int_equal(recv(again, got, sizeof(got), 0), -1);
	assert_int_equal(agent_client_send(&a, FRAME_DATA, 9, "later", 5), 0);
	assert_int_equal(recv(again, got, sizeof(got), 0), -1);
	agent_client_release(&a);
	for (int i = 0; i < 2; i++)
		assert_int_equal(recv(again, got, FRAME_HEADER_SIZE + 5, 0), FRAME_HEADER_SIZE + 5);
	agent_client_done(&a);
	close(first);
	close(lost);
	close(again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_agent_is_heard_again_when_its_connection_was_lost),
		cmocka_unit_test(what_was_held_goes_to_a_restored_guest_at_once),
		cmocka_unit_test(what_was_held_waits_for_the_agents_greeting),
		cmocka_unit_test(what_was_held_waits_for_the_end_of_the_next_silence),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
