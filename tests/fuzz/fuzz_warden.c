/* SPDX-License-Identifier: Apache-2.0 */
/* What a supervisor that a guest has taken over may send to its warden: a message, and in it how
 * the VM is.  It writes no file here, because it has no folder. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/sock.h"
#include "supervisor/supervise.h"
#include "supervisor/warden_ask.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put(struct line_message *asked)
{
	static struct supervisor_given given;
	struct warden w = { .given = &given, .theirs = { -1, -1 }, .memory_dir_fd = -1 };
	AUTO_DONE(line_message) reply = { 0 };
	for (int i = 0; i < SUPERVISOR_FD_END; i++)
		given.fd[i] = -1;
	w.record.name = strdup("web");
	assert(w.record.name);
	if (asked->what >= 0 && asked->what <= ASK_REMOVE) /* what only reads the message */
		asked->what = asked->what % 2 ? ASK_SAVE : ASK_TELL;
	warden_answer(&w, asked, &reply);
	assert(w.record.n_stages <= RECORD_STAGES_MAX && strcmp(w.record.name, "web") == 0);
	assert(!w.record.vmm_pid && !w.record.n_volumes && !w.record.held);
	warden_done(&w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_DONE(line_message) asked = { 0 };
	int pair[2];
	if (size > 65536 || sock_pair(pair) < 0) /* what the socket holds */
		return 0;
	if (size == 0 || send(pair[0], data, size, 0) == (ssize_t)size) {
		close(pair[0]);
		if (line_receive_question(pair[1], -1, &asked) == 0)
			put(&asked);
	} else {
		close(pair[0]);
	}
	close(pair[1]);
	return 0;
}
