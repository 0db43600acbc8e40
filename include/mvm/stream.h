/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_STREAM_H
#define MVM_STREAM_H

/*
 * Commands, logs and events for programs with an event loop of their own.  They need no thread for
 * each command, and no call here waits for a guest.
 *
 * A running command, a followed log and followed events are handles of one shape.  Each has one
 * descriptor for poll(2) or epoll(7):
 *
 *	struct pollfd p = { mvm_exec_fd(exec), mvm_exec_events(exec), 0 };
 *	poll(&p, 1, mvm_exec_timeout_ms(exec));
 *	while ((r = mvm_exec_read(exec, &event, &err)) == MVM_STREAM_ITEM)
 *		...
 *
 * Read until the answer is not MVM_STREAM_ITEM before waiting again: the handle may hold items that
 * no longer make its descriptor readable.  A loop that takes one item from each handle in turn must
 * go round again without waiting as long as one handle gave an item.  The descriptor belongs to the
 * library.  Only wait for it, level-triggered (edges are not enough), and take it out of an epoll
 * set before closing the handle.  Leave a handle out of the wait while you do not want to read it.
 *
 * Opening reads the instance's record and connects to its supervisor, or opens log files.  After
 * that no function here blocks, except on the local disk that holds a log.  An open handle is
 * independent of its context (struct mvm) and may outlive it.  Different threads may use different
 * handles at the same time; one thread at a time may use a handle.  None of these functions raises
 * SIGPIPE.  doc/threading.md has more; doc/library.md has the cost of a command.
 */

#include <mvm/error.h>
#include <mvm/instance.h>
#include <mvm/mvm.h>
#include <mvm/struct.h>
#include <mvm/visibility.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Results of reading from a stream, besides a negative errno. */
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
	/* NULL or "": the workload's, else / and root.  A user is "name", "uid" or "uid:gid". */
	const char *workdir, *user;
	bool input;		/* the caller will use mvm_exec_write(); false: /dev/null */
	bool tty;		/* give the command a terminal; all its output is then stdout */
	uint16_t rows, columns; /* of the terminal; 0: not known */
	int64_t timeout_ms;	/* then the command is killed; 0: none */
	/* The command outlives this handle: mvm_exec_close() only lets go of it, and so does the
	 * end of this process.  It goes on in a suspended VM and in forks.  mvm_exec_attach() takes
	 * hold of it again.  The agent keeps the timeout, a day at most. */
	bool keep;
	const char *note; /* of a kept one, for mvm_exec_list(): at most 2048 bytes; NULL: "" */
	/* No program: the agent itself does something with files, as root, and new ones belong to
	 * `user`.  The command is a verb and its arguments (doc/agent-protocol.md, "Files").  The
	 * status is 0 or a Linux errno, which standard error explains.  Not with keep and tty. */
	bool files;
};
#define MVM_EXEC_START_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_exec_start_options)

enum mvm_exec_event_kind {
	MVM_EXEC_STARTED, /* it runs: pid */
	MVM_EXEC_STDOUT,  /* len bytes of output at data, at least one */
	MVM_EXEC_STDERR,
	MVM_EXEC_EXITED, /* it has ended, after all its output: status, signal */
};

/* Something from a command.  Made by the library; later versions append members. */
struct mvm_exec_event {
	enum mvm_exec_event_kind kind;
	const void *data;
	size_t len;
	int64_t pid; /* in the guest */
	int status;  /* as in a shell: the exit code, or 128 + signal */
	int signal;  /* the signal that ended it; 0: it exited */
	bool tty;    /* it is kept and has a terminal, so all its output is stdout */
	bool ended;  /* with MVM_EXEC_STARTED: it is kept and had ended before mvm_exec_attach() */
	/* Likewise: it takes no input, or its input had ended.  What is written to it is lost.  An
	 * agent of 0.2 does not say so. */
	bool input_ended;
};

/*
 * Start a command in a running instance, over a connection of its own.
 *
 *   instance  the instance's name
 *   options   borrowed
 *   ret       the command; mvm_exec_close() it
 *
 * Returns 0 when the request is under way.  The first mvm_exec_read() tells whether the command
 * runs.
 * Errors: -ENOENT (no such instance), -EBUSY (it does not run), -EAGAIN (its supervisor does not
 * keep up with new connections), -EINVAL (no command), -EFBIG (command and environment are larger
 * than 64 KiB), -EMFILE, -ENOMEM.
 *
 * A guest runs up to 256 commands at once; a supervisor has room for 1024 connections.  A command
 * takes one descriptor and about 2 KiB here, and up to 256 KiB while it has unread output or unsent
 * input.  Its supervisor keeps at most 256 KiB of unread output and 256 KiB of input that the guest
 * has not taken.
 */
MVM_API int mvm_exec_start(struct mvm *mvm, const char *instance,
			   const struct mvm_exec_start_options *options, struct mvm_exec **ret,
			   struct mvm_error *err);

/*
 * Take hold of a command that was started with `keep`.
 *
 *   pid  from MVM_EXEC_STARTED or mvm_exec_list()
 *   ret  as of mvm_exec_start(), with input if the command has some; mvm_exec_close() it
 *
 * Any number of handles may hold one command.  Each gets its output from now on, as fast as the
 * slowest of them reads, and may send input, signals and the terminal's size.  Output that comes
 * while there is no handle is lost.  The ends of a VM's last 32 commands stay known, so a handle
 * may give MVM_EXEC_EXITED at once.
 *
 * Errors: as of mvm_exec_start().  The first mvm_exec_read() fails with -ENOENT (no such command is
 * kept) or -EOPNOTSUPP (an agent older than this call).
 */
MVM_API int mvm_exec_attach(struct mvm *mvm, const char *instance, int64_t pid,
			    struct mvm_exec **ret, struct mvm_error *err);

/* Returns 0 to go on; a negative errno ends the list with it.  note is borrowed. */
typedef int (*mvm_exec_list_fn)(void *arg, int64_t pid, const char *note);

/*
 * List the kept commands that run, the oldest first.  One answer of the agent has room for some
 * dozens with long notes; the rest is left out.  Errors as for mvm_instance_kill().
 */
MVM_API int mvm_exec_list(struct mvm *mvm, const char *instance,
			  const struct mvm_progress *progress, mvm_exec_list_fn fn, void *arg,
			  struct mvm_error *err);

/* The descriptor to wait for.  It does not change during the handle's life. */
MVM_API int mvm_exec_fd(const struct mvm_exec *exec);

/* Events to wait for now: POLLIN, POLLOUT (poll(2); EPOLLIN and EPOLLOUT are the same numbers), or
 * 0 when the command is over.  Ask again after each call. */
MVM_API short mvm_exec_events(const struct mvm_exec *exec);

/* How long to wait at most; call mvm_exec_read() after that time in any case.  -1: no limit. */
MVM_API int mvm_exec_timeout_ms(const struct mvm_exec *exec);

/*
 * Take the next event: MVM_EXEC_STARTED, then output, then MVM_EXEC_EXITED.
 *
 *   ret  the event, with MVM_STREAM_ITEM; it and its data are valid until the next
 *        mvm_exec_read() or mvm_exec_close()
 *
 * Unread output stops only the command that wrote it: after 256 KiB the command waits in its
 * write(2).  News of room for more input comes between the output, so a caller that does not read
 * can only fill the room that mvm_exec_write() already has.
 *
 * Returns enum mvm_stream_result.  An error repeats at every further read: -ENOENT (no such program
 * in the guest), -EACCES and others (it cannot be executed), -EBUSY (the guest runs as many
 * commands as it can, is paused or about to stop), -ETIMEDOUT (the command was killed), -EREMOTEIO
 * (the VM has ended), -EPROTO.
 */
MVM_API int mvm_exec_read(struct mvm_exec *exec, const struct mvm_exec_event **ret,
			  struct mvm_error *err);

/*
 * Give the command input.
 *
 * Returns how many of the len bytes were taken, at most INT_MAX; 0 when there is no room now: wait,
 * read, and try again.  Input for a command that has closed its standard input is dropped.
 * Errors: -EPIPE (it has no input, its input was closed, or the command is over and mvm_exec_read()
 * says how).
 */
MVM_API int mvm_exec_write(struct mvm_exec *exec, const void *data, size_t len,
			   struct mvm_error *err);

/* End the input after all written bytes; on a terminal, as if Ctrl-D were typed.  Calling it again,
 * or after the command's end, is fine. */
MVM_API int mvm_exec_close_stdin(struct mvm_exec *exec, struct mvm_error *err);

/* Tell a command with a terminal its new size.  Calling it after the command's end is fine. */
MVM_API int mvm_exec_resize(struct mvm_exec *exec, uint16_t rows, uint16_t columns,
			    struct mvm_error *err);

/*
 * Send a signal to the command's process group.
 *
 *   signal  a number of Linux on x86-64, 1 to 64
 *
 * Calling it after the command's end is fine.
 * Errors: -EINVAL; -EAGAIN (the supervisor cannot take a message now).
 */
MVM_API int mvm_exec_signal(struct mvm_exec *exec, int signal, struct mvm_error *err);

/* Hang up.  A running command is killed, with all processes it started, unless it is kept.  NULL is
 * fine. */
MVM_API void mvm_exec_close(struct mvm_exec *exec);

/* ---- connections and tars ---- */

/*
 * Connect to a TCP port of the guest's loopback, whether or not the instance has a network.
 *
 *   ret  the connection, driven by the functions above; mvm_exec_close() it
 *
 * MVM_EXEC_STARTED (no pid): it stands.  MVM_EXEC_STDOUT: what the server sends.  mvm_exec_write()
 * sends, and mvm_exec_close_stdin() ends what is sent; the server may still answer.
 * MVM_EXEC_EXITED: the server has closed its side, and the connection is over; status is 0 or a
 * Linux errno.  An open connection counts as use of the VM, and no VM is suspended or forked while
 * it has one.
 *
 * Errors: those of mvm_exec_start().  The first mvm_exec_read() fails with -ECONNREFUSED when
 * nothing listens there, and with -EOPNOTSUPP when the guest's agent is older than this call.
 */
MVM_API int mvm_port_open(struct mvm *mvm, const char *instance, uint16_t port,
			  struct mvm_exec **ret, struct mvm_error *err);

/*
 * Read a file or folder of the guest as a tar, or unpack one there (mvm/copy.h has the rules).
 *
 *   guest_path  absolute.  To be read: its last component is the tar's top entry; one that ends in
 *               "/." means the contents of that folder.  To be written: the folder for the tar's
 *               entries, made if missing.
 *   ret         driven by the functions above: the tar is MVM_EXEC_STDOUT, or mvm_exec_write()
 *               takes it and mvm_exec_close_stdin() ends it; mvm_exec_close() it
 *
 * MVM_EXEC_STDERR says what was left out or went wrong.  The status is 0 or a Linux errno.
 * Errors: those of mvm_exec_start(); -EINVAL (the path).
 */
MVM_API int mvm_tar_read(struct mvm *mvm, const char *instance, const char *guest_path,
			 struct mvm_exec **ret, struct mvm_error *err);
MVM_API int mvm_tar_write(struct mvm *mvm, const char *instance, const char *guest_path,
			  struct mvm_exec **ret, struct mvm_error *err);

/* ---- logs ---- */

/* The logs of an instance. */
struct mvm_log_stream;

struct mvm_log_stream_options {
	size_t size;	   /* MVM_LOG_STREAM_OPTIONS_INIT sets it (mvm/struct.h) */
	bool console;	   /* output of the kernel, the image's init and the agent */
	bool workload;	   /* output of the template's command; neither is set: both */
	bool follow;	   /* go on until the instance has ended */
	int64_t tail;	   /* begin with this many of the last lines; 0: all, -1: none */
	const char *since; /* only newer entries: RFC 3339, or "10m" ago; NULL: all */
};
#define MVM_LOG_STREAM_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_log_stream_options)

/*
 * Read an instance's logs, merged by time, the oldest entry first.
 *
 *   options  borrowed; NULL: all entries, and no following
 *   ret      mvm_log_stream_close() it
 *
 * Following takes one connection to the supervisor, which says when there is more.  A stream takes
 * up to six descriptors, of the logs' files among them, and about 70 KiB.  With a tail the logs are
 * read once to count their lines.
 * Errors: -ENOENT (no such instance), -EINVAL (since, tail), -EAGAIN (its supervisor does not keep
 * up with new connections), -EMFILE, -EOPNOTSUPP.
 */
MVM_API int mvm_log_stream_open(struct mvm *mvm, const char *instance,
				const struct mvm_log_stream_options *options,
				struct mvm_log_stream **ret, struct mvm_error *err);

/* The descriptor to wait for, for POLLIN and without a timeout.  -1 unless the stream follows; then
 * a read never gives MVM_STREAM_WAIT. */
MVM_API int mvm_log_stream_fd(const struct mvm_log_stream *stream);

/* Take the next entry.  Returns enum mvm_stream_result, or a negative errno from reading files;
 * -EOPNOTSUPP from the supervisor of an older mvm, which cannot say when there is more. */
MVM_API int mvm_log_stream_read(struct mvm_log_stream *stream, const struct mvm_log_entry **ret,
				struct mvm_error *err);

MVM_API void mvm_log_stream_close(struct mvm_log_stream *stream); /* NULL is fine */

/* ---- events ---- */

/* The events of all instances of a data folder. */
struct mvm_event_stream;

struct mvm_event_stream_options {
	size_t size;	   /* MVM_EVENT_STREAM_OPTIONS_INIT sets it (mvm/struct.h) */
	bool follow;	   /* wait for more, without end */
	const char *since; /* as in struct mvm_log_stream_options */
};
#define MVM_EVENT_STREAM_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_event_stream_options)

/*
 * Read the events of all instances, the oldest first.  The last four to eight megabytes are kept.
 *
 * Following takes one of the user's inotify instances (fs.inotify.max_user_instances, 128 on many
 * hosts): -EMFILE says what to do.  Other errors: -EINVAL (since), and those of reading files.  One
 * stream has the events of all instances.  The functions below work as those of a log stream.
 */
MVM_API int mvm_event_stream_open(struct mvm *mvm, const struct mvm_event_stream_options *options,
				  struct mvm_event_stream **ret, struct mvm_error *err);
MVM_API int mvm_event_stream_fd(const struct mvm_event_stream *stream);
MVM_API int mvm_event_stream_read(struct mvm_event_stream *stream, const struct mvm_event **ret,
				  struct mvm_error *err);
MVM_API void mvm_event_stream_close(struct mvm_event_stream *stream); /* NULL is fine */

#endif
