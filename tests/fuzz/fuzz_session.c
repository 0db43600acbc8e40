/* SPDX-License-Identifier: Apache-2.0 */
/* Answers to a client that has started a command: from the supervisor, and through it from a
 * hostile guest.  The first byte chooses how the client reads them. */
#include <assert.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/sock.h"
#include "instance/exec.h"
#include "instance/session.h"
#include "net/agent.h"
#include "net/wire.h"

#define SIZE_MAX_USED (64u << 10) /* fits into the socket */
#define STREAM	      2u	  /* the first stream of a client */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int swallow(void *arg, const void *data, size_t len, struct mvm_error *err)
{
	size_t *left = arg;
	(void)data;
	if (len > *left)
		return mvm_error_set(err, -ENOSPC, "no more room");
	*left -= len;
	return 0;
}

static void say_started(int fd)
{
	AUTO_DONE(strbuf) reply = { 0 };
	AUTO_DONE(channel) c = { .fd = fd };
	wire_put_u64(&reply, FIELD_STATUS, 0);
	assert(channel_send(&c, FRAME_REPLY, STREAM, reply.data, reply.len) == 0);
}

/* Read as a client with its own event loop does.  Takes fd over. */
static void read_events(int fd)
{
	static const char *const command[] = { "true", NULL };
	const struct mvm_exec_start_options o = { .command = command };
	const struct mvm_exec_event *event;
	struct mvm_error err = { 0 };
	struct mvm_instance *i = calloc(1, sizeof(*i));
	struct mvm_exec *e;
	int r;

	assert(i && control_init(&i->control, fd) == 0);
	assert(exec_start(i, &o, &e, &err) == 0);
	do {
		r = mvm_exec_read(e, &event, &err);
		assert(r == err.code || r > 0);
		assert(r != MVM_STREAM_ITEM || event->kind != MVM_EXEC_EXITED ||
		       (event->status >= 0 && event->status <= 255));
		/* all input has arrived, so there is nothing to wait for */
	} while (r == MVM_STREAM_ITEM || r == MVM_STREAM_WAIT);
	mvm_exec_close(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_DONE(strbuf) args = { 0 };
	AUTO_DONE(strbuf) words = { 0 };
	AUTO_CLOSE int null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	struct mvm_error err = { 0 };
	struct control c;
	size_t room = 4096;
	int fds[2], status = -1;
	uint8_t how = size ? data[0] : 0;

	if (size == 0 || size > SIZE_MAX_USED || null_fd < 0 || sock_pair(fds) < 0)
		return 0;
	if (how & 1)
		say_started(fds[1]);
	assert(send(fds[1], data + 1, size - 1, MSG_DONTWAIT) == (ssize_t)size - 1);
	shutdown(fds[1], SHUT_WR);
	if (how & 8) {
		read_events(fds[0]);
		close(fds[1]);
		return 0;
	}
	assert(control_init(&c, fds[0]) == 0);

	const struct session_io io = { .write = swallow, .arg = &room };
	const struct session_spec spec = {
		.call = CALL_EXEC,
		.args = &args,
		.stdin_fd = -1,
		.stdout_fd = null_fd,
		.stderr_fd = null_fd,
		.io = how & 2 ? &io : NULL,
		.words = how & 4 ? &words : NULL,
		.signal_fd = -1,
		.tty_fd = -1,
		.deadline_ns = clock_deadline_ns(60000),
	};
	int r = session_run(&c, &spec, &status, &err);
	assert(r == err.code);
	assert(r < 0 || (status >= 0 && status <= 255));
	assert(words.len <= SESSION_WORDS_MAX);
	control_done(&c);
	close(fds[1]);
	return 0;
}
