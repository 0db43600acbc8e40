/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_STREAM_H
#define MVM_STREAM_H

/*
 * Commands, logs and events for programs with an event loop of their own: no thread for each
 * command, and no call that waits for a guest.
 *
 * A running command, a log that is followed and the events that are followed are handles of the
 * same shape.  Each has one descriptor for poll(2) or epoll(7):
 *
 *	struct pollfd p = { mvm_exec_fd(exec), mvm_exec_events(exec), 0 };
 *	poll(&p, 1, mvm_exec_timeout_ms(exec));
 *	while ((r = mvm_exec_read(exec, &event, &err)) == MVM_STREAM_ITEM)
 *		...
 *
 * Read until the answer is not MVM_STREAM_ITEM before waiting again: what was read from the
 * descriptor already does not make it readable.  A loop that takes one item from each handle in
 *turn comes back without waiting while there was one.  The descriptor stays the library's: only
 *wait for it, level-triggered (edges are not enough), and take it out of an epoll set before the
 *handle is closed.  A handle that is not to be read for now is left out of the wait.
 *
 * Opening reads the instance's record and connects to its supervisor, or opens log files; after
 * that no function here blocks, but on the local disk that has a log.  An open handle has no more
 *to do with its context (struct mvm): it may outlive it, and different handles may be used by
 * different threads at the same time, one handle by one thread.  None of these functions raises
 * SIGPIPE.  doc/threading.md has the rest, doc/library.md what a command costs.
 */

#include <mvm/error.h>
#include <mvm/instance.h>
#include <mvm/mvm.h>
#include <mvm/struct.h>
#include <mvm/visibility.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What reading from a stream gives, besides a negative errno. */
enum mvm_stream_result {
	MVM_STREAM_WAIT = 0, /* nothing now: wait for the descriptor or the timeout */
	MVM_STREAM_ITEM = 1, /* one item, valid until the next read from this handle */
	MVM_STREAM_END = 2,  /* nothing more will come; close it */
};

/* ---- commands ---- */

/* A command in a guest. */
struct mvm_exec;

struct mvm_exec_start_options {
	size_t size;		    /* MVM_EXEC_START_OPTIONS_INIT sets it (mvm/struct.h) */
	const char *const *command; /* NULL-terminated argument vector */
	const char *const *env;	    /* NULL-terminated "K=V"; NULL: none */
	const char *workdir;	    /* NULL: the workload's, else / */
	const char *user;	/* "name", "uid" or "uid:gid"; NULL: the workload's, else root */
	bool input;		/* mvm_exec_write() is to be used; else it reads /dev/null */
	bool tty;		/* give the command a terminal; all its output is then stdout */
	uint16_t rows, columns; /* of the terminal; 0: not known */
	int64_t timeout_ms;	/* after which it is killed; 0: none */
};
#define MVM_EXEC_START_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_exec_start_options)

enum mvm_exec_event_kind {
	MVM_EXEC_STARTED, /* it runs: pid */
	MVM_EXEC_STDOUT,  /* len bytes of output at data, at least one */
	MVM_EXEC_STDERR,
	MVM_EXEC_EXITED, /* all its output has come: status, signal */
};

/* Something from a command.  Made by the library; later versions append members. */
struct mvm_exec_event {
	enum mvm_exec_event_kind kind;
	const void *data;
	size_t len;
	int64_t pid; /* in the guest */
	int status;  /* as a shell would say it: the exit code, or 128 + signal */
	int signal;  /* that ended it; 0: it exited */
};

/*
 * Start a command in a running instance, over a connection of its own.
 *
 *   instance  the instance's name
 *   options   borrowed
 *   ret       the command; mvm_exec_close() it
 *
 * Returns 0 when the call is on its way; whether the command runs is the first thing to be read.
 * Errors: -ENOENT (no such instance), -EBUSY (it does not run), -EAGAIN (its supervisor does not
 * keep up with new connections), -EINVAL (no command), -EFBIG (command and environment are larger
 * than 64 KiB), -EMFILE, -ENOMEM.
 *
 * A guest runs 256 commands at once; a supervisor has room for 1024 connections.  A command takes
 * one descriptor and about 2 KiB here, and up to 256 KiB while there is output to be read or input
 * on its way.  Its supervisor keeps at most 256 KiB of output that was not read and 256 KiB of
 * input that the guest has not taken.
 */
MVM_API int mvm_exec_start(struct mvm *mvm, const char *instance,
			   const struct mvm_exec_start_options *options, struct mvm_exec **ret,
			   struct mvm_error *err);

/* The descriptor to wait for, the same for the handle's life. */
MVM_API int mvm_exec_fd(const struct mvm_exec *exec);

/* What to wait for now: POLLIN, POLLOUT (poll(2); EPOLLIN and EPOLLOUT are the same numbers), or 0
 * when it is over.  Ask again after each call. */
MVM_API short mvm_exec_events(const struct mvm_exec *exec);

/* How long to wait for that, until mvm_exec_read() has something to do anyhow; -1: without end. */
MVM_API int mvm_exec_timeout_ms(const struct mvm_exec *exec);

/*
 * Take the next event: MVM_EXEC_STARTED, then output, then MVM_EXEC_EXITED.
 *
 *   ret  the event, with MVM_STREAM_ITEM; it and its data are valid until the next
 *        mvm_exec_read() or mvm_exec_close()
 *
 * Output that is not read is not credited to the guest: after 256 KiB of it the command waits in
 * its write(2), and nobody else does.  Room for more input is told between the output, so who does
 * not read may only write what there is room for already.
 *
 * Returns enum mvm_stream_result.  Errors, after which each read gives the same one: -ENOENT no
 * such program in the guest, -EACCES and others (it cannot be executed), -EBUSY (the guest runs as
 * many as it can, is paused or about to stop), -ETIMEDOUT (it was killed), -EREMOTEIO the VM has
 * ended, -EPROTO.
 */
MVM_API int mvm_exec_read(struct mvm_exec *exec, const struct mvm_exec_event **ret,
			  struct mvm_error *err);

/*
 * Give the command input.
 *
 * Returns how many of the len bytes were taken, at most INT_MAX; 0 when there is no room now: wait,
 * read, and try again.  Errors: -EPIPE (it has no input or it was closed; or the command is over,
 * and mvm_exec_read() says how).  What a command that has closed its standard input is sent is
 * dropped.
 */
MVM_API int mvm_exec_write(struct mvm_exec *exec, const void *data, size_t len,
			   struct mvm_error *err);

/* The end of the input, after all that was written; on a terminal as if Ctrl-D were typed.  Once is
 * enough, and after the end it is fine. */
MVM_API int mvm_exec_close_stdin(struct mvm_exec *exec, struct mvm_error *err);

/* Tell a command with a terminal its new size.  After the end it is fine. */
MVM_API int mvm_exec_resize(struct mvm_exec *exec, uint16_t rows, uint16_t columns,
			    struct mvm_error *err);

/*
 * Send a signal to the command's process group.
 *
 *   signal  a number of Linux on x86-64, 1 to 64
 *
 * After the end it is fine.  Errors: -EINVAL; -EAGAIN (the supervisor takes nothing now).
 */
MVM_API int mvm_exec_signal(struct mvm_exec *exec, int signal, struct mvm_error *err);

/* Hang up.  A command that still runs is killed with all that it has started.  NULL is fine. */
MVM_API void mvm_exec_close(struct mvm_exec *exec);

/* ---- logs ---- */

/* What an instance prints. */
struct mvm_log_stream;

struct mvm_log_stream_options {
	size_t size;	   /* MVM_LOG_STREAM_OPTIONS_INIT sets it (mvm/struct.h) */
	bool console;	   /* what the kernel, the image's init and the agent print */
	bool workload;	   /* what the template's command prints; neither of the two: both */
	bool follow;	   /* go on until the instance has ended */
	int64_t tail;	   /* begin with so many of the last lines; 0: all, -1: none */
	const char *since; /* only what came from then on: RFC 3339, or "10m" ago; NULL: all */
};
#define MVM_LOG_STREAM_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_log_stream_options)

/*
 * Read an instance's logs, merged by time, the oldest entry first.
 *
 *   options  borrowed; NULL: all that is there
 *   ret      mvm_log_stream_close() it
 *
 * Following takes two or three descriptors, one connection to the supervisor and one of the user's
 * inotify instances (fs.inotify.max_user_instances, 128 on many hosts); about 70 KiB in any case.
 * With a tail the logs are read once to count their lines.
 * Errors: -ENOENT (no such instance), -EINVAL (since, tail), -EMFILE (with what to do),
 * -EOPNOTSUPP.
 */
MVM_API int mvm_log_stream_open(struct mvm *mvm, const char *instance,
				const struct mvm_log_stream_options *options,
				struct mvm_log_stream **ret, struct mvm_error *err);

/* The descriptor to wait for, for POLLIN and without a timeout; -1 unless it follows: reading then
 * never says MVM_STREAM_WAIT. */
MVM_API int mvm_log_stream_fd(const struct mvm_log_stream *stream);

/* Take the next entry.  Returns enum mvm_stream_result or what reading the files says. */
MVM_API int mvm_log_stream_read(struct mvm_log_stream *stream, const struct mvm_log_entry **ret,
				struct mvm_error *err);

MVM_API void mvm_log_stream_close(struct mvm_log_stream *stream); /* NULL is fine */

/* ---- events ---- */

/* What happens to the instances of a data folder. */
struct mvm_event_stream;

struct mvm_event_stream_options {
	size_t size;	   /* MVM_EVENT_STREAM_OPTIONS_INIT sets it (mvm/struct.h) */
	bool follow;	   /* wait for more; there is no end then */
	const char *since; /* as in struct mvm_log_stream_options */
};
#define MVM_EVENT_STREAM_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_event_stream_options)

/*
 * Read what happened to all instances, the oldest event first: the last four to eight megabytes.
 *
 * Following takes one of the user's inotify instances.  The rest is as for a log stream.
 */
MVM_API int mvm_event_stream_open(struct mvm *mvm, const struct mvm_event_stream_options *options,
				  struct mvm_event_stream **ret, struct mvm_error *err);
MVM_API int mvm_event_stream_fd(const struct mvm_event_stream *stream);
MVM_API int mvm_event_stream_read(struct mvm_event_stream *stream, const struct mvm_event **ret,
				  struct mvm_error *err);
MVM_API void mvm_event_stream_close(struct mvm_event_stream *stream); /* NULL is fine */

#endif
