/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_VIEWER_H
#define GUEST_VIEWER_H

/*
 * Kept commands (kept.h) from inside.  kept.c starts the commands and passes their output on.
 * viewer.c has the streams that look at them: input, credit, signals and the terminal's size.
 */

#include "agent.h"
#include "base/queue.h"
#include "child.h"
#include "command.h"
#include "stream.h"

struct output {
	struct kept *kept;
	int fd; /* -1: it has ended */
	struct loop_source *source;
	uint8_t channel;
	size_t left; /* bytes in the pipe when the command ended */
};

struct kept {
	struct kept *next;
	struct agent *agent;
	struct child child;
	pid_t pid;
	char cgroup[COMMAND_CGROUP_SIZE];
	char *note;
	bool tty, exited;
	bool over; /* exited, and all its output is passed on */
	int status;
	struct output out[2];
	int stdin_fd;
	struct loop_source *stdin_source, *timer;
	struct queue input;
	bool input_ended;
	struct viewer *viewers;
};

struct viewer {
	struct stream stream;
	struct kept *kept;
	struct viewer *next;
	uint32_t send_window, receive_window;
	uint32_t given;	   /* input that waits in the command's queue */
	uint32_t consumed; /* input that is not credited yet */
};

/* Call this after any change, as in exec.c.  The viewers' streams end by their `resume`, since the
 * agent calls that for one after another. */
void kept_settle(struct kept *k);

/* Forget the oldest ends. */
void kept_trim(struct agent *a);

/* Does the command still have its input open? */
bool kept_takes_input(const struct kept *k);

/* End the command's input. */
void kept_close_stdin(struct kept *k);

/* Make the stream a viewer of the command.  Returns 0 or -ENOMEM. */
int viewer_add(struct agent *a, struct kept *k, uint32_t id);

#endif
