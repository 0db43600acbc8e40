/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SUPERVISOR_LINE_H
#define SUPERVISOR_LINE_H

/*
 * Questions and answers between the two processes of a supervisor, over a socket pair.  The asking
 * end blocks, the warden's end does not.
 *
 * A message is a header, fields (net/wire.h) of at most LINE_BYTES_MAX, and up to LINE_FDS_MAX
 * descriptors, which only an answer has.  Each question has one answer.
 */

#include <stdint.h>

#include "base/own.h"
#include "base/str.h"

#define LINE_BYTES_MAX (1u << 20)
#define LINE_FDS_MAX   12u

struct line_message {
	int32_t what; /* number of a question; result of an answer: 0 or -errno */
	struct strbuf fields;
	int fds[LINE_FDS_MAX];
	uint32_t n_fds;
};

void line_message_done(struct line_message *m);
DEFINE_AUTO_DONE(line_message, line_message_done)

/* Add a descriptor to a message, which takes it over. */
void line_add_fd(struct line_message *m, int fd);

/*
 * The caller keeps the message.
 *
 *   end_fd  readable: the other process has ended, so a wait for it ends as well; -1: none
 *
 * Returns 0; -ECANCELED when it has ended; or -errno.
 */
int line_send(int fd, int end_fd, const struct line_message *m);

/* Wait for a message. *ret must be empty. -EPIPE at the end, -EPROTO when it is no message. */
int line_receive(int fd, struct line_message *ret);

/*
 * Receive a question whose first bytes are here, and wait for the rest until end_fd is readable
 * (-ECANCELED).  A guest may have broken into the asker.  One of the descriptors that come along
 * could be the asker's end of this line, so close them all before any wait.
 */
int line_receive_question(int fd, int end_fd, struct line_message *ret);

#endif
