/* SPDX-License-Identifier: Apache-2.0 */
/* What a hostile guest may send to its supervisor, while a client has a command and a call open.
 * Their sockets are files of fake_files.h. */
#include <assert.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/sock.h"
#include "fake_files.h"
#include "net/wire.h"
#include "supervisor/clients.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void open_calls(int fd)
{
	static const unsigned calls[] = { CALL_EXEC, CALL_PING };
	struct channel c = { .fd = fd };
	for (uint32_t i = 0; i < 2; i++) {
		AUTO_DONE(strbuf) call = { 0 };
		wire_put_u64(&call, FIELD_CALL, calls[i]);
		assert(channel_send(&c, FRAME_CALL, i + 7, call.data, call.len) == 0);
	}
	channel_done(&c);
}

static void settle(struct loop *loop)
{
	int turns = 8; /* more than it has work for */
	do
		loop_run_once(loop, 0);
	while (--turns > 0 && !fake_files_idle());
}

static void drain(int fd)
{
	char chunk[65536];
	while (recv(fd, chunk, sizeof(chunk), MSG_DONTWAIT) > 0)
		;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct agent_client agent = { 0 };
	struct clients clients;
	struct loop *loop = NULL;
	int guest[2], leash[2];

	if (loop_new(&loop) < 0 || sock_pair(guest) < 0 || sock_pair(leash) < 0)
		return 0;
	assert(agent_client_init(&agent, loop, guest[0]) == 0);
	assert(clients_init(&clients, loop, &agent) == 0);
	agent.on_frame = clients_on_guest_frame;
	agent.arg = &clients;
	assert(clients_add_leash(&clients, leash[0]) == 0);
	open_calls(leash[1]);
	settle(loop);
	for (size_t at = 0; at < size && !agent.broken[0]; at += 4096) {
		size_t n = size - at < 4096 ? size - at : 4096;
		if (send(guest[1], data + at, n, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)n)
			break;
		settle(loop);
		drain(guest[1]);
		drain(leash[1]);
	}
	close(guest[1]);
	settle(loop);
	assert(agent.broken[0]);
	clients_guest_gone(&clients);
	clients_done(&clients);
	agent_client_done(&agent);
	close(leash[1]);
	loop_free(loop);
	assert(fake_files_count() == 0); /* no descriptor is lost */
	return 0;
}
