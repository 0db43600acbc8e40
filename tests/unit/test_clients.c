/* SPDX-License-Identifier: Apache-2.0 */
/* Frames that a supervisor passes on between a client and a guest that breaks every rule. */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/sock.h"
#include "instance/control.h"
#include "net/message.h"
#include "net/wire.h"
#include "supervisor/clients.h"

struct fixture {
	struct loop *loop;
	struct agent_client agent;
	struct clients clients;
	struct channel guest, client; /* the test's ends of the two channels */
};

static void pair(int fds[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
			 0);
}

static int setup(void **state)
{
	struct fixture *x = calloc(1, sizeof(*x));
	int fds[2];
	if (!x || loop_new(&x->loop) < 0)
		return -1;
	pair(fds);
	x->guest.fd = fds[1];
	assert_int_equal(agent_client_init(&x->agent, x->loop, fds[0]), 0);
	assert_int_equal(clients_init(&x->clients, x->loop, &x->agent), 0);
	x->agent.on_frame = clients_on_guest_frame;
	x->agent.arg = &x->clients;
	pair(fds);
	x->client = (struct channel){ .fd = fds[1], .out_limit = 1u << 20 };
	assert_int_equal(clients_add_leash(&x->clients, fds[0]), 0);
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *x = *state;
	clients_done(&x->clients);
	agent_client_done(&x->agent);
	channel_done(&x->guest);
	channel_done(&x->client);
	close(x->guest.fd);
	close(x->client.fd);
	loop_free(x->loop);
	free(x);
	return 0;
}

/* Let the supervisor handle all pending events.  A turn that begins after its deadline, since this
 * process did not run, says -ETIMEDOUT although it had events: two in a row had none. */
static void settle(struct fixture *x)
{
	for (int quiet = 0; quiet < 2; quiet++) {
		while (loop_run_once(x->loop, clock_deadline_ns(1)) == 0)
			quiet = 0;
	}
}

static void send_frame(struct channel *c, uint8_t type, uint32_t stream, const void *data,
		       size_t len)
{
	assert_int_equal(channel_send(c, type, stream, data, len), 0);
}

static void send_call(struct channel *c, uint32_t stream, uint64_t call)
{
	AUTO_DONE(strbuf) b = { 0 };
	wire_put_u64(&b, FIELD_CALL, call);
	send_frame(c, FRAME_CALL, stream, b.data, b.len);
}

static void send_reply(struct channel *c, uint32_t stream)
{
	AUTO_DONE(strbuf) b = { 0 };
	wire_put_u64(&b, FIELD_STATUS, 0);
	send_frame(c, FRAME_REPLY, stream, b.data, b.len);
}

/* Send an EXEC on the client's stream 7; returns the guest's id of that stream. */
static uint32_t start_exec(struct fixture *x)
{
	struct frame f;
	send_call(&x->client, 7, CALL_EXEC);
	settle(x);
	assert_int_equal(channel_receive(&x->guest, &f), 1);
	assert_int_equal(f.type, FRAME_CALL);
	return f.stream;
}

static unsigned count(struct channel *c, uint8_t type)
{
	struct frame f;
	unsigned n = 0;
	while (channel_receive(c, &f) > 0) {
		assert_int_equal(f.type, type);
		assert_int_equal(f.stream, 7);
		n++;
	}
	return n;
}

static void frames_without_a_window_cannot_fill_memory(void **state)
{
	struct fixture *x = *state;
	uint32_t stream = start_exec(x);
	static const uint8_t end_of_stdout[1] = { DATA_STDOUT };
	uint32_t credit = htole32(1);

	for (int i = 0; i < 100; i++)
		send_reply(&x->guest, stream);
	settle(x);
	assert_int_equal(count(&x->client, FRAME_REPLY), 1);
	for (int i = 0; i < 100; i++)
		send_frame(&x->guest, FRAME_DATA, stream, end_of_stdout, 1);
	settle(x);
	assert_int_equal(count(&x->client, FRAME_DATA), 1);
	for (int i = 0; i < 100; i++) {
		send_frame(&x->guest, FRAME_CREDIT, stream, &credit, sizeof(credit));
		send_frame(&x->guest, FRAME_DATA, stream, NULL, 0);
	}
	settle(x);
	assert_int_equal(count(&x->client, FRAME_CREDIT), 0);
}

static void a_guests_frame_has_the_protocols_bound(void **state)
{
	struct fixture *x = *state;
	uint32_t stream = start_exec(x);
	uint8_t data[DATA_MAX + 2] = { DATA_STDOUT };
	struct frame f;

	send_reply(&x->guest, stream);
	send_frame(&x->guest, FRAME_DATA, stream, data, DATA_MAX + 1);
	settle(x);
	assert_int_equal(channel_receive(&x->client, &f), 1);
	assert_int_equal(f.type, FRAME_REPLY);
	assert_int_equal(channel_receive(&x->client, &f), 1);
	assert_int_equal(f.type, FRAME_DATA);
	assert_int_equal(f.len, DATA_MAX + 1);
	send_frame(&x->guest, FRAME_DATA, stream, data, sizeof(data));
	settle(x);
	assert_int_equal(channel_receive(&x->client, &f), 1);
	assert_int_not_equal(f.type, FRAME_DATA);
}

/* A reason makes mvm print a hint as its own advice. */
static void a_guest_cannot_give_users_hints(void **state)
{
	struct fixture *x = *state;
	static const uint64_t calls[] = { CALL_EXEC,   CALL_PUT,   CALL_GET,  CALL_PROCESSES,
					  CALL_SIGNAL, CALL_AWAIT, CALL_PING, CALL_HEALTH };
	AUTO_DONE(strbuf) results = { 0 };
	AUTO_DONE(strbuf) reply = { 0 };

	wire_put_str(&results, FIELD_REASON, "data-folder-marker");
	assert_int_equal(message_put_reply(&reply, ENOENT, "no such program", &results), 0);
	for (uint32_t i = 0; i < MVM_ARRAY_SIZE(calls); i++) {
		struct mvm_error err = { 0 };
		struct frame f;
		send_call(&x->client, i + 1, calls[i]);
		settle(x);
		while (channel_receive(&x->guest, &f) == 1 && f.type != FRAME_CALL)
			; /* the last client's stream was reset */
		assert_int_equal(f.type, FRAME_CALL);
		send_frame(&x->guest, FRAME_REPLY, f.stream, reply.data, (uint32_t)reply.len);
		settle(x);
		assert_int_equal(channel_receive(&x->client, &f), 1);
		assert_int_equal(f.type, FRAME_REPLY);
		assert_int_equal(message_get_status(f.payload, f.len, &err), EPROTO);
		assert_string_equal(err.reason, "guest-broke-protocol");
	}
}

/* A frame could become part of the snapshot's memory and be missing in its device state. */
static void nothing_is_sent_to_a_guest_that_is_captured(void **state)
{
	struct fixture *x = *state;
	AUTO_DONE(strbuf) none = { 0 };
	struct agent_later later = { 0 };
	struct wire_field field;
	struct frame f;
	uint64_t status;
	static const uint16_t size[2] = { 0 };

	start_exec(x);
	x->agent.quiet = true;
	send_frame(&x->client, FRAME_RESIZE, 7, size, sizeof(size));
	send_call(&x->client, 9, CALL_PING);
	settle(x);
	assert_int_equal(channel_receive(&x->client, &f), 1);
	assert_int_equal(f.stream, 9);
	assert_int_equal(f.type, FRAME_REPLY);
	assert_true(wire_find(f.payload, f.len, FIELD_STATUS, &field) > 0);
	assert_int_equal(wire_get_u64(&field, &status), 0);
	assert_int_equal(status, EBUSY);
	assert_int_equal(agent_client_begin(&x->agent, &later, CALL_CLOCK, &none, NULL, NULL),
			 -EBUSY);
	shutdown(x->client.fd, SHUT_RDWR); /* resets its stream */
	settle(x);
	assert_int_equal(channel_receive(&x->guest, &f), 0);
}

static void credit_for_sent_data_is_passed_on(void **state)
{
	struct fixture *x = *state;
	uint32_t stream = start_exec(x), credit = htole32(3);
	struct frame f;

	send_frame(&x->client, FRAME_DATA, 7, "\0abc", 4);
	settle(x);
	assert_int_equal(channel_receive(&x->guest, &f), 1);
	assert_int_equal(f.stream, stream);
	send_frame(&x->guest, FRAME_CREDIT, stream, &credit, sizeof(credit));
	settle(x);
	assert_int_equal(count(&x->client, FRAME_CREDIT), 1);
}

static void a_stream_is_cancelled_while_the_guest_reads_nothing(void **state)
{
	struct fixture *x = *state;
	static uint8_t data[FRAME_PAYLOAD_MAX];
	uint32_t stream = start_exec(x);
	struct frame f = { 0 };
	int r;

	while ((r = agent_client_send(&x->agent, FRAME_DATA, 0x70000000, data, sizeof(data))) == 0)
		;
	assert_int_equal(r, -ENOBUFS);
	send_frame(&x->client, FRAME_RESET, 7, NULL, 0);
	settle(x);
	/* the guest wakes up */
	do {
		settle(x);
		r = channel_receive(&x->guest, &f);
	} while (r == 0 || (r == 1 && f.type == FRAME_DATA));
	assert_int_equal(r, 1);
	assert_int_equal(f.type, FRAME_RESET);
	assert_int_equal(f.stream, stream);
}

static void a_cancelled_call_ends_with_the_guests_answer(void **state)
{
	struct fixture *x = *state;
	AUTO_DONE(strbuf) end = { 0 };
	uint32_t stream = start_exec(x);
	struct frame f;

	send_frame(&x->client, FRAME_RESET, 7, NULL, 0);
	send_frame(&x->client, FRAME_RESET, 7, NULL, 0); /* once is enough */
	settle(x);
	assert_int_equal(channel_receive(&x->guest, &f), 1);
	assert_int_equal(f.type, FRAME_RESET);
	assert_int_equal(channel_receive(&x->guest, &f), 0);
	wire_put_u64(&end, FIELD_SIGNAL, 9);
	send_frame(&x->guest, FRAME_END, stream, end.data, end.len);
	settle(x);
	assert_int_equal(channel_receive(&x->client, &f), 1);
	assert_int_equal(f.type, FRAME_END);
	assert_int_equal(f.stream, 7);
}

/* A dying VMM, as a supervisor sees it: its sockets are closed first. */
struct dying {
	struct loop_source *timer;
	bool ended;
};

static void on_dead(void *arg)
{
	struct dying *d = arg;
	d->ended = true;
}

static void on_hung_up(void *arg)
{
	struct dying *d = arg;
	loop_source_arm(d->timer, 0); /* the loop's next turn */
}

static void a_vmm_that_ends_is_the_cause_of_its_closed_channel(void **state)
{
	struct fixture *x = *state;
	struct mvm_error err = { 0 };
	struct dying d = { 0 };
	assert_int_equal(loop_add_timer(x->loop, DEADLINE_NONE, on_dead, &d, &d.timer), 0);
	x->agent.on_broken = on_hung_up;
	x->agent.arg = &d;
	shutdown(x->guest.fd, SHUT_RDWR);
	assert_int_equal(agent_client_wait_hello(&x->agent, x->loop, &d.ended, DEADLINE_NONE, &err),
			 -EREMOTEIO);
	assert_string_equal(err.text, "waiting for the guest's agent: the VM has ended");
	/* a call after the hang-up gets the same answer */
	d.ended = false;
	loop_source_arm(d.timer, 0);
	assert_int_equal(agent_client_call(&x->agent, x->loop, CALL_PING, "asking", NULL, &d.ended,
					   DEADLINE_NONE, NULL, &err),
			 -EREMOTEIO);
	assert_string_equal(err.text, "asking: the VM has ended");
	loop_source_free(d.timer);
}

static void an_agent_that_hangs_up_in_a_running_vm_is_reported(void **state)
{
	struct fixture *x = *state;
	struct mvm_error err = { 0 };
	bool ended = false;
	shutdown(x->guest.fd, SHUT_RDWR);
	assert_int_equal(
		agent_client_wait_hello(&x->agent, x->loop, &ended, clock_deadline_ns(20), &err),
		-EREMOTEIO);
	assert_string_equal(err.text,
			    "waiting for the guest's agent: the agent's channel was closed");
}

static void without_an_agent_calls_for_the_guest_are_refused(void **state)
{
	struct fixture *x = *state;
	static const uint64_t calls[] = { CALL_PING, CALL_HEALTH, CALL_AWAIT,  CALL_EXEC,
					  CALL_PUT,  CALL_GET,	  CALL_SIGNAL, CALL_PROCESSES };
	x->clients.no_agent = "it has no agent";
	for (uint32_t i = 0; i < MVM_ARRAY_SIZE(calls); i++) {
		struct mvm_error err = { 0 };
		struct frame f;
		send_call(&x->client, i + 1, calls[i]);
		settle(x);
		assert_int_equal(channel_receive(&x->client, &f), 1);
		assert_int_equal(f.stream, i + 1);
		assert_int_equal(control_check_reply(&(struct control){ 0 }, &f, NULL, &err),
				 -EOPNOTSUPP);
		assert_string_equal(err.text, "it has no agent");
		assert_int_equal(channel_receive(&x->guest, &f), 0);
	}
}

static void expect_refusal(struct fixture *x, const char *says)
{
	struct mvm_error err = { 0 };
	struct frame f = { 0 };
	int r;
	do { /* earlier frames fill the socket */
		settle(x);
		r = channel_receive(&x->client, &f);
	} while (r == 0 || (r == 1 && f.type != FRAME_REPLY));
	assert_int_equal(r, 1);
	assert_int_equal(f.stream, 7);
	const struct control c = { .name = "web" };
	assert_int_equal(control_check_reply(&c, &f, NULL, &err), -EPROTO);
	assert_non_null(strstr(err.text, says));
	assert_string_equal(err.reason, "guest-broke-protocol");
	assert_string_equal(err.subject, "web");
}

static void a_guest_that_sends_too_much_is_reported_so(void **state)
{
	struct fixture *x = *state;
	static uint8_t data[1 + DATA_MAX] = { DATA_STDOUT };
	uint32_t stream = start_exec(x);
	struct frame f;

	x->guest.out_limit = 1u << 20;
	for (uint32_t sent = 0; sent <= WINDOW_BYTES; sent += DATA_MAX) {
		send_frame(&x->guest, FRAME_DATA, stream, data, sizeof(data));
		settle(x);
	}
	expect_refusal(x, "it sent more than it may");
	assert_true(clients_has(&x->clients, x->clients.leash_id));
	assert_int_equal(channel_receive(&x->guest, &f), 1);
	assert_int_equal(f.type, FRAME_RESET);
}

static void a_client_that_sends_a_frame_over_its_bound_is_dropped(void **state)
{
	struct fixture *x = *state;
	static uint8_t data[1 + DATA_MAX + 1] = { DATA_STDIN };
	uint64_t id = x->clients.leash_id;
	start_exec(x);
	send_frame(&x->client, FRAME_DATA, 7, data, sizeof(data));
	settle(x);
	assert_false(clients_has(&x->clients, id));
}

static void on_broken(void *arg)
{
	clients_guest_gone(arg);
}

static void a_guest_that_breaks_the_protocol_has_not_ended(void **state)
{
	struct fixture *x = *state;
	static const uint8_t nonsense[FRAME_HEADER_SIZE] = "no frame";
	x->agent.on_broken = on_broken;
	start_exec(x);
	assert_int_equal(send(x->guest.fd, nonsense, sizeof(nonsense), MSG_NOSIGNAL),
			 sizeof(nonsense));
	settle(x);
	expect_refusal(x, "broke the agent protocol");
	send_call(&x->client, 7, CALL_EXEC); /* refused from now on */
	settle(x);
	expect_refusal(x, "broke the agent protocol");
}

static void a_client_that_hangs_up_is_noticed(void **state)
{
	struct fixture *x = *state;
	uint64_t id = x->clients.leash_id;
	assert_true(clients_has(&x->clients, id));
	shutdown(x->client.fd, SHUT_RDWR);
	settle(x);
	assert_false(clients_has(&x->clients, id));
}

#define MANY 300u /* clients with a command each, all on stream 7 */

/* Answer a call, whose only argument is its client's number, with this number as its output. */
static void answer_call(struct fixture *x, const struct frame *f, uint32_t streams[MANY])
{
	struct wire_field field;
	uint64_t i;
	char data[2] = { DATA_STDOUT };
	assert_int_equal(f->type, FRAME_CALL);
	assert_true(wire_find(f->payload, f->len, FIELD_PID, &field) > 0);
	assert_int_equal(wire_get_u64(&field, &i), 0);
	assert_true(i < MANY && streams[i] == 0 && f->stream > 0 && f->stream <= STREAMS_MAX);
	streams[i] = f->stream;
	send_reply(&x->guest, f->stream);
	data[1] = (char)(i % 100);
	send_frame(&x->guest, FRAME_DATA, f->stream, data, sizeof(data));
}

/* Deliver the guest's frames, which may be more than the socket holds. */
static void hear_the_guest_out(struct fixture *x)
{
	do {
		settle(x);
		assert_int_equal(channel_flush(&x->guest), 0);
	} while (channel_wants_write(&x->guest));
	settle(x);
}

static void answer_calls(struct fixture *x, uint32_t streams[MANY])
{
	struct frame f;
	unsigned n = 0;
	for (int r; n<MANY; n += r> 0) {
		settle(x);
		r = channel_receive(&x->guest, &f);
		assert_true(r >= 0);
		if (r > 0)
			answer_call(x, &f, streams);
	}
	hear_the_guest_out(x);
}

static void call_as(struct channel *c, uint64_t i)
{
	AUTO_DONE(strbuf) b = { 0 };
	wire_put_u64(&b, FIELD_CALL, CALL_EXEC);
	wire_put_u64(&b, FIELD_PID, i);
	send_frame(c, FRAME_CALL, 7, b.data, b.len);
}

static void each_of_many_clients_hears_of_its_own_command(void **state)
{
	struct fixture *x = *state;
	static struct channel many[MANY];
	static uint32_t streams[MANY];
	struct frame f;
	char path[] = "/tmp/mvm-unit-XXXXXX";

	assert_non_null(mkdtemp(path));
	AUTO_CLOSE int dir = dir_open_at(AT_FDCWD, path);
	assert_int_equal(clients_listen(&x->clients, sock_listen_at(dir, "s")), 0);
	for (unsigned i = 0; i < MANY; i++) { /* the backlog holds them until accept() */
		many[i] = (struct channel){ .fd = sock_try_connect_at(dir, "s") };
		assert_true(many[i].fd >= 0);
		call_as(&many[i], i);
	}
	for (int round = 0; round < 2; round++) { /* the second round uses the same stream ids */
		answer_calls(x, streams);
		for (unsigned i = 0; i < MANY; i++) {
			assert_int_equal(channel_receive(&many[i], &f), 1);
			assert_int_equal(f.type, FRAME_REPLY);
			assert_int_equal(channel_receive(&many[i], &f), 1);
			assert_int_equal(f.stream, 7);
			assert_int_equal(f.payload[1], i % 100);
			send_frame(&x->guest, FRAME_END, streams[i], NULL, 0);
			streams[i] = 0;
		}
		hear_the_guest_out(x);
		for (unsigned i = 0; i < MANY; i++) {
			assert_int_equal(count(&many[i], FRAME_END), 1);
			if (round == 0)
				call_as(&many[i], i);
		}
	}
	assert_true(x->clients.n_streams <= MANY);
	for (unsigned i = 0; i < MANY; i++) {
		close(many[i].fd);
		channel_done(&many[i]);
	}
	settle(x);
	assert_int_equal(x->clients.n_clients, 1); /* the leash */
	assert_int_equal(tree_remove_at(AT_FDCWD, path), 0);
}

/* It is alive although its VM starts, is captured or has hung: those who wait for an answer ask. */
static void a_proof_of_life_comes_whatever_the_vm_does(void **state)
{
	struct fixture *x = *state;
	struct frame f;

	x->clients.busy = "it is being stopped";
	x->clients.guest_paused = true;
	send_call(&x->client, 7, CALL_ALIVE);
	settle(x);
	assert_int_equal(channel_receive(&x->client, &f), 1);
	assert_int_equal(f.type, FRAME_REPLY);
	assert_int_equal(message_get_status(f.payload, f.len, NULL), 0);
	assert_int_equal(channel_receive(&x->guest, &f), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(frames_without_a_window_cannot_fill_memory),
		TEST(a_guests_frame_has_the_protocols_bound),
		TEST(a_guest_cannot_give_users_hints),
		TEST(nothing_is_sent_to_a_guest_that_is_captured),
		TEST(credit_for_sent_data_is_passed_on),
		TEST(a_stream_is_cancelled_while_the_guest_reads_nothing),
		TEST(a_cancelled_call_ends_with_the_guests_answer),
		TEST(a_guest_that_sends_too_much_is_reported_so),
		TEST(a_client_that_sends_a_frame_over_its_bound_is_dropped),
		TEST(a_guest_that_breaks_the_protocol_has_not_ended),
		TEST(a_client_that_hangs_up_is_noticed),
		TEST(each_of_many_clients_hears_of_its_own_command),
		TEST(a_vmm_that_ends_is_the_cause_of_its_closed_channel),
		TEST(an_agent_that_hangs_up_in_a_running_vm_is_reported),
		TEST(without_an_agent_calls_for_the_guest_are_refused),
		TEST(a_proof_of_life_comes_whatever_the_vm_does),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
