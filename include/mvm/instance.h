/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_INSTANCE_H
#define MVM_INSTANCE_H

/*
 * Instances: microVMs that were started from a template's revision.
 *
 * mvm_instance_start() decides between restoring the revision's snapshot and a cold boot, starts a
 * supervisor process that owns the VM, and returns when the guest is up with an identity of its
 * own.  The handle it gives is a connection to that supervisor.  For a detached instance it may be
 * closed at once; for an attached one closing it ends the VM and removes the instance, however
 * the process that held it came to its end.
 */

#include <mvm/error.h>
#include <mvm/mvm.h>
#include <mvm/progress.h>
#include <mvm/struct.h>
#include <mvm/visibility.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mvm_instance;

enum mvm_instance_state {
	MVM_INSTANCE_STARTING,
	MVM_INSTANCE_RUNNING,
	MVM_INSTANCE_PAUSED,
	MVM_INSTANCE_EXITED, /* its workload or its guest ended by itself, or it was stopped */
	MVM_INSTANCE_FAILED, /* it did not start, its kernel panicked, its VMM or supervisor died */
};

/* The state's name as it appears in JSON: "running".  Static. */
MVM_API const char *mvm_instance_state_name(enum mvm_instance_state state);

/* A host port that leads to a port of the guest. */
struct mvm_forward {
	bool udp;
	char host_address[46]; /* numeric IPv4 or IPv6 address; "" means 127.0.0.1 */
	uint16_t host_port;
	uint16_t guest_port;
	uint64_t reserved[2]; /* 0: members of later versions (mvm/struct.h) */
};

/*
 * Parse "[ADDRESS:]HOST:GUEST[/tcp|/udp]", as in `8080:80` or `[::1]:8080:80`.
 *
 * Returns 0 or -EINVAL with what is wrong.
 */
MVM_API int mvm_forward_parse(const char *text, struct mvm_forward *ret, struct mvm_error *err);

/* A folder or file of this host, or a named volume (mvm/volume.h), that is copied into the guest
 * before its workload starts, for the workload's user. */
struct mvm_volume {
	char *host, *guest;   /* absolute; owned */
	char *name;	      /* in place of host, which is NULL then; owned */
	bool write_back;      /* and copied back when the VM is stopped */
	uint64_t reserved[2]; /* 0: members of later versions (mvm/struct.h) */
};
MVM_API void mvm_volume_done(struct mvm_volume *v);

/*
 * Parse "HOST:GUEST[:ro|:rw]", where GUEST is absolute.  HOST is a path that begins with '/' or
 * '.', of a folder or file, and is made absolute; or the name of a volume, which is :rw if nothing
 * else is said and made when it is first used.
 *
 * Returns 0; -EINVAL with what is wrong; -ENOENT or other reasons why HOST cannot be used.
 */
MVM_API int mvm_volume_parse(const char *text, struct mvm_volume *ret, struct mvm_error *err);

#define MVM_VOLUMES_MAX 16

/*
 * Check volumes as a start does: each by itself, whoever has filled it, and all together.
 *
 * Returns 0; -EINVAL when one is none, two have one place in the guest or one inside the other, or
 * would be copied back to one place of this host; -ENOENT or other reasons why a host path cannot
 * be used.
 */
MVM_API int mvm_volumes_check(const struct mvm_volume *list, size_t n, struct mvm_error *err);

enum mvm_start_kind {
	MVM_START_AUTO,		    /* restore if possible, else boot and say why */
	MVM_START_COLD,		    /* boot, whatever there is */
	MVM_START_REQUIRE_SNAPSHOT, /* restore or fail with -EOPNOTSUPP */
};

/* When an instance that has ended by itself is started again, after a pause that grows. */
enum mvm_restart {
	MVM_RESTART_NO,
	MVM_RESTART_ON_FAILURE, /* its VM failed, or its workload ended with another status than 0
				 */
	MVM_RESTART_ALWAYS,
	MVM_RESTART_UNLESS_STOPPED, /* the same: no instance outlives its host's boot */
};

/*
 * Parse "no", "on-failure[:N]", "always" or "unless-stopped".
 *
 *   ret_max  N: how often in a row; 0 when it is not given: ten times
 *
 * Returns 0 or -EINVAL with what is wrong.
 */
MVM_API int mvm_restart_parse(const char *text, enum mvm_restart *ret, uint32_t *ret_max,
			      struct mvm_error *err);

struct mvm_start_options {
	size_t size;		  /* MVM_START_OPTIONS_INIT sets it (mvm/struct.h) */
	const char *template_ref; /* "ID" or "ID@REVISION" */
	const char *name;	  /* NULL: one is made from the template's id */
	bool attached;		  /* ends and is removed with the handle */
	bool held;		  /* so does a detached one, until mvm_instance_keep() */
	enum mvm_start_kind kind;
	const char *backend; /* NULL: the first usable one */
	unsigned vcpus;	     /* 0: the template's */
	uint32_t mem_mib;    /* 0: the template's */
	const struct mvm_forward *forwards;
	size_t n_forwards;
	const struct mvm_volume *volumes;
	size_t n_volumes; /* at most MVM_VOLUMES_MAX */
	enum mvm_restart restart;
	uint32_t restart_max; /* of ON_FAILURE, in a row; 0: ten times */
	bool keep_running;    /* its workload's end does not end it; so it is with `exec` */
	bool remove_at_end;   /* forget it when it has ended; an attached one always is */
	bool private_memory;  /* a clone gets a copy of the snapshot's memory: see below */
	bool exec;	      /* commands are to be run in it: refuse what has no agent */
	/* "K=V", NULL-terminated, over the workload's own; NULL: none.  A restored workload runs
	 * already and cannot take them on, so with any the VM boots, unless the workload starts in
	 * each clone (doc/clones.md). */
	const char *const *env;
	const char *hostname;	/* NULL: the instance's name */
	int64_t ttl_ms;		/* stop it after that; 0: never */
	uint64_t log_max_bytes; /* size limit of each of its logs; 0: 8 MiB */
	/* for its volumes to be copied in, and to come back when nobody waits: at the end of its
	 * workload or its time to live; 0: 5 minutes */
	int64_t volume_timeout_ms;
	bool verify; /* read all of the revision's files before, not only those that have changed */
};
#define MVM_START_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_start_options)

/*
 * Start an instance.
 *
 *   options   borrowed
 *   progress  gets a note with the reason when a cold boot takes a restore's place; may be NULL
 *   ret       connection to the running instance; mvm_instance_close() it
 *
 * Errors: -ENOENT (template, revision or image is not there), -EEXIST (name in use), -EADDRINUSE
 * (a port), -EOPNOTSUPP (no usable backend; no usable snapshot although required), -EBADMSG (the
 * snapshot's or the image's files are damaged), -ECANCELED (it was stopped before it was up),
 * -ETIMEDOUT, -EREMOTEIO.  A detached instance whose guest did not come up is kept as failed, for
 * its logs, unless remove_at_end; else nothing stays behind.
 * Cost of a restore: one process for the supervisor and one for the VMM; guest memory is mapped,
 * never copied, so that clones share page cache, by which they could learn from its timing what
 * others have read.  With private_memory each gets a copy, of blocks or where the file system can
 * of references to them, and no VM of a pool is taken.
 */
MVM_API int mvm_instance_start(struct mvm *mvm, const struct mvm_start_options *options,
			       const struct mvm_progress *progress, struct mvm_instance **ret,
			       struct mvm_error *err);

/*
 * Start n instances as one operation: all of them, or none goes on, even if the process is killed
 * meanwhile.  One whose guest did not come up is kept as failed.
 *
 *   n    1 to MVM_START_MANY_MAX
 *   ret  array of n connections, each to be closed; all NULL after a failure
 *
 * With a name, they are called NAME-1, NAME-2 and so on; a forwarded host port must be 0.  A few
 * are started at a time.  Errors as mvm_instance_start().
 */
#define MVM_START_MANY_MAX 1000u
MVM_API int mvm_instance_start_many(struct mvm *mvm, const struct mvm_start_options *options,
				    uint32_t n, const struct mvm_progress *progress,
				    struct mvm_instance **ret, struct mvm_error *err);

/* Connect to a running instance.  -ENOENT when there is none of that name, -EBUSY when it does not
 * run (the text says what became of it). */
MVM_API int mvm_instance_open(struct mvm *mvm, const char *name, struct mvm_instance **ret,
			      struct mvm_error *err);

/* Hang up.  NULL is fine. */
MVM_API void mvm_instance_close(struct mvm_instance *instance);

/* Let go of a detached instance that was started with `held`: its name has been told to whoever
 * asked for it.  Before that it ends with the handle, or with the process. */
MVM_API void mvm_instance_keep(struct mvm_instance *instance);

/* The name of the instance, owned by the handle. */
MVM_API const char *mvm_instance_name(const struct mvm_instance *instance);

/* What was known of the instance when its start was over, as JSON, owned by the handle: the
 * instance may have ended since, and be gone.  NULL for a handle of mvm_instance_open(). */
MVM_API const char *mvm_instance_start_json(const struct mvm_instance *instance);

/* What is known about an instance.  Strings are owned by the struct; absent ones are NULL. */
struct mvm_instance_info {
	char *name, *template_id, *revision;
	enum mvm_instance_state state;
	bool restored;	/* start kind: restored from a snapshot, or booted */
	bool from_pool; /* it was restored before it was wanted (mvm/pool.h) */
	char *reason;	/* why it was booted */
	char *backend;
	char *created_at, *started_at, *ended_at;
	unsigned vcpus;
	uint32_t mem_mib;
	struct mvm_forward *forwards;
	size_t n_forwards;
	int64_t start_ns; /* how long the start took; 0 if it is not over */
	int64_t supervisor_pid, vmm_pid;
	char *error;	      /* why it failed */
	char *health;	      /* "none" (does not run), "starting", "healthy", "unhealthy" */
	char *health_message; /* what the last failed check said */
	char *expires_at;
	unsigned restarts;
	bool workload_ended; /* the template's command has */
	int exit_code;	     /* the workload's, or 128 and its signal, also of a VM that failed
				after its workload had ended; -1: there is none */
	/* of a running one, at the moment of asking: what its VMM takes */
	uint64_t cpu_ns;
	uint64_t memory_private_bytes, memory_shared_bytes;
	uint64_t disk_bytes; /* its folder */
	char *json;	     /* all of it, as instance.json has it, and the usage */
};
MVM_API void mvm_instance_info_free(struct mvm_instance_info *info);

/*
 * Find the instances that were left behind, by a supervisor that was killed or a host that went
 * down: progress gets a note for each, its record says so from then on, its sockets are removed.
 * One that cannot be written down, on a full disk say, does not keep the others from it; the first
 * of these is the error.
 *
 * A folder among the instances that mvm did not make, or that a user has copied or renamed, is left
 * alone; progress gets a note of it the first time.
 */
MVM_API int mvm_instance_settle(struct mvm *mvm, const struct mvm_progress *progress,
				struct mvm_error *err);

/* Look an instance up, running or not.  *ret is the caller's. */
MVM_API int mvm_instance_inspect(struct mvm *mvm, const char *name, struct mvm_instance_info **ret,
				 struct mvm_error *err);

/* All instances by name; mvm_instance_list_free() the list.  An unreadable one is left out. */
MVM_API int mvm_instance_list(struct mvm *mvm, struct mvm_instance_info ***ret, size_t *ret_n,
			      struct mvm_error *err);
MVM_API void mvm_instance_list_free(struct mvm_instance_info **list, size_t n);

/* Something that happened to an instance.  All borrowed; message may be NULL. */
struct mvm_event {
	const char *time;  /* RFC 3339 with nanoseconds */
	const char *event; /* started, healthy, unhealthy, paused, resumed, restarting, stopped,
			    * exited, failed, removed */
	const char *instance, *template_id;
	const char *message;
	const char *json; /* all of it on one line */
};

/* Returns 0 to go on; anything else ends the reading. */
typedef int (*mvm_event_fn)(void *arg, const struct mvm_event *event);

struct mvm_events_options {
	size_t size;	      /* MVM_EVENTS_OPTIONS_INIT sets it (mvm/struct.h) */
	const char *since;    /* as in struct mvm_logs_options */
	bool follow;	      /* go on until cancel_fd is readable */
	const int *cancel_fd; /* NULL: none */
};
#define MVM_EVENTS_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_events_options)

/* What happened to all instances, the oldest first: the last four to eight megabytes of it.
 * options NULL: all that is known, and no following. */
MVM_API int mvm_events(struct mvm *mvm, const struct mvm_events_options *options, mvm_event_fn fn,
		       void *arg, struct mvm_error *err);

struct mvm_exec_options {
	size_t size;		    /* MVM_EXEC_OPTIONS_INIT sets it (mvm/struct.h) */
	const char *const *command; /* NULL-terminated argument vector */
	const char *const *env;	    /* NULL-terminated "K=V"; NULL: none */
	const char *workdir;	    /* NULL: the workload's, else / */
	const char *user;    /* "name", "uid" or "uid:gid"; NULL: the workload's, else root */
	bool tty;	     /* give the command a terminal */
	const int *stdin_fd; /* NULL: it reads nothing */
	const int *stdout_fd, *stderr_fd; /* NULL: dropped */
	const int *signal_fd;		  /* signalfd(2), SIGWINCH as a resize; NULL: none */
	int64_t timeout_ms;		  /* 0: none */
	const int *cancel_fd;		  /* readable: the command is killed; NULL: none */
};
#define MVM_EXEC_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_exec_options)

/*
 * Run a command in the guest, with its streams, to its end.
 *
 * The first signal that signal_fd gives is passed on to the command, which then has 10 s to end;
 * the next one ends the call at once, as does one that comes before the command has started.  On a
 * terminal, ~. at the beginning of a line does it, too.
 *
 *   ret_status  the exit code, or 128 + the signal that ended it; also with -ECANCELED
 *
 * Errors: -ENOENT (no such program in the guest), -EACCES (it cannot be executed), -ETIMEDOUT
 * (it was killed), -ECANCELED (likewise), -EREMOTEIO (the VM has ended), -EFBIG (command and
 * environment too large).
 */
MVM_API int mvm_instance_exec(struct mvm_instance *instance, const struct mvm_exec_options *options,
			      int *ret_status, struct mvm_error *err);

/* What a copy may bring onto this host when nothing else is said: 64 GiB. */
#define MVM_COPY_MAX_BYTES (UINT64_C(64) << 30)

struct mvm_copy_options {
	size_t size;	      /* MVM_COPY_OPTIONS_INIT sets it (mvm/struct.h) */
	bool follow_link;     /* the source may be a symbolic link to what is meant */
	uint64_t max_bytes;   /* out of the guest; 0: MVM_COPY_MAX_BYTES */
	const int *stream_fd; /* the tar stream, where the host's path is NULL */
	int64_t timeout_ms;   /* 0: none */
	int64_t idle_ms;      /* give up when the guest has said nothing for so long; 0: never */
};
#define MVM_COPY_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_copy_options)

/*
 * Copy a file, link or folder into the guest, or out of it, with modes and times.
 *
 *   host_path   NULL: a tar stream from or to options->stream_fd
 *   guest_path  absolute
 *   options     borrowed; NULL: all defaults
 *   progress    gets a note when something was left out (devices, pipes, sockets); its cancel_fd
 *               ends the copy; may be NULL
 *
 * A destination that is a folder gets the source into it; else it is the new name, in a folder that
 * must exist.  A source that ends in "/." means what is in that folder, and the destination is then
 * the folder for it, made if missing; so it is for a tar stream.  Owners do not travel: in the
 * guest all belongs to root, here to the caller, and set-user-id bits are dropped.  Nothing is
 * written outside the destination: names, links and ".." that would lead there are refused.
 *
 * Errors: -ENOENT, -EPERM and -EBADMSG (the stream was refused), -EISDIR, -ENOTDIR, -EFBIG (over
 * max_bytes), -ENOSPC, -EREMOTEIO (the VM has ended), -ETIMEDOUT, -ECANCELED and others.
 */
MVM_API int mvm_instance_copy_in(struct mvm_instance *instance, const char *host_path,
				 const char *guest_path, const struct mvm_copy_options *options,
				 const struct mvm_progress *progress, struct mvm_error *err);
MVM_API int mvm_instance_copy_out(struct mvm_instance *instance, const char *guest_path,
				  const char *host_path, const struct mvm_copy_options *options,
				  const struct mvm_progress *progress, struct mvm_error *err);

/*
 * Copy an instance's volumes with write_back from its guest back to this host, which
 * mvm_instance_stop() does by itself.  A file that is as it was here, in size, time and mode, is
 * not touched, and what has been removed in the guest stays here.  Nothing to do is success.
 *
 *   options   only timeout_ms counts, for all of them together (0: the instance's
 *             volume_timeout_ms); NULL: that time
 *   progress  its cancel_fd ends the copy; may be NULL
 *
 * After a file, or a volume, that fails the others are still tried; the error names the volumes
 * that did not come back whole, and the first few files.  A guest that says nothing for 30 s has
 * failed. A VM that is ending already copies back itself: this waits for its end.  Devices, pipes
 * and sockets are left out; the event "volumes" names them.  -EBUSY when it does not run, else as
 * mvm_instance_copy_out().
 */
MVM_API int mvm_instance_copy_back(struct mvm *mvm, const char *name,
				   const struct mvm_copy_options *options,
				   const struct mvm_progress *progress, struct mvm_error *err);

/*
 * End the VM behind a handle and wait until it is gone; an attached instance is then removed.
 *
 *   timeout_ms  for the guest to shut down by itself; 0: it is killed at once
 */
MVM_API int mvm_instance_finish(struct mvm_instance *instance, int64_t timeout_ms,
				struct mvm_error *err);

struct mvm_wait_options {
	size_t size;	      /* MVM_WAIT_OPTIONS_INIT sets it (mvm/struct.h) */
	int64_t timeout_ms;   /* 0: none */
	const int *cancel_fd; /* readable: -ECANCELED; NULL: none */
};
#define MVM_WAIT_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_wait_options)

/*
 * Wait until the VM has ended and is not started again.
 *
 *   options     borrowed; NULL: as long as it takes
 *   ret_status  its exit_code as in struct mvm_instance_info; may be NULL
 *
 * -ETIMEDOUT when it has not ended by then; -ECANCELED.
 */
MVM_API int mvm_instance_wait(struct mvm_instance *instance, const struct mvm_wait_options *options,
			      int *ret_status, struct mvm_error *err);

/*
 * Wait until the template's command has ended in the guest.
 *
 *   options     borrowed; NULL: as long as it takes
 *   ret_status  its exit code, or 128 + the signal that ended it
 *
 * Errors: -ETIMEDOUT; -ECANCELED; -ESRCH (the VM has ended before); -EINVAL (the guest runs an
 * init, which ends only with its VM); -EBUSY (the VM is paused).
 */
MVM_API int mvm_instance_wait_workload(struct mvm_instance *instance,
				       const struct mvm_wait_options *options, int *ret_status,
				       struct mvm_error *err);

/*
 * Copy volumes back (a failure leaves the VM running, unless timeout_ms is 0: then nothing is
 * copied), then shut the guest down; when it has not ended by the timeout, which is for both, kill
 * it.  Returns when it is gone. The instance stays listed until it is removed.  A start that is
 * under way is cancelled.  A VM that is ending already, and copies back itself, gets that time for
 * it.  -EBUSY when it does not run; -EIO when it has ended and volumes did not come back.
 */
MVM_API int mvm_instance_stop(struct mvm *mvm, const char *name, int64_t timeout_ms,
			      struct mvm_error *err);

/*
 * Send a signal: "KILL" ends the VM at once, like mvm_instance_stop() with no time; any other goes
 * to the process of the template's command, or to the image's own init.
 *
 *   signal  "TERM", "SIGTERM" or "15", in any case
 *
 * Errors: -EINVAL (no such signal), -EBUSY (the VM does not run), -ESRCH (nothing runs in it any
 * more), -EOPNOTSUPP (no agent, or one that is older than this call).
 */
MVM_API int mvm_instance_kill(struct mvm *mvm, const char *name, const char *signal,
			      struct mvm_error *err);

/* A process in a guest, as its kernel tells it.  All borrowed. */
struct mvm_process {
	int64_t pid, parent_pid;
	uint32_t uid;
	char state;	       /* R, S, D, T, Z and so on: proc_pid_stat(5) */
	int64_t cpu_ns;	       /* that it has used */
	uint64_t memory_bytes; /* resident */
	const char *command;   /* arguments with spaces between them, or its name; cut when long */
};

/* Returns 0 to go on; a negative errno ends the list with it. */
typedef int (*mvm_process_fn)(void *arg, const struct mvm_process *process);

/*
 * The processes of a running guest but for its kernel's, by pid; as many as fit an answer of the
 * agent's, some hundred.  Errors as of mvm_instance_kill().
 */
MVM_API int mvm_instance_processes(struct mvm *mvm, const char *name, mvm_process_fn fn, void *arg,
				   struct mvm_error *err);

/* Freeze and unfreeze a running instance's virtual CPUs. */
MVM_API int mvm_instance_pause(struct mvm *mvm, const char *name, struct mvm_error *err);
MVM_API int mvm_instance_resume(struct mvm *mvm, const char *name, struct mvm_error *err);

/*
 * Forget an instance that does not run, with its folder.
 *
 *   force  end it first if it runs, is being started or stopped, or does not answer
 *
 * -EBUSY when it has not ended; -ENOENT when there is none, or somebody else was faster.
 */
MVM_API int mvm_instance_remove(struct mvm *mvm, const char *name, bool force,
				struct mvm_error *err);

/* A piece of a log.  All borrowed. */
struct mvm_log_entry {
	const char *time; /* when it came, RFC 3339 with nanoseconds; "" when that is not known */
	bool workload;	  /* else it is the console's */
	bool full;	  /* ends a line; otherwise this log's next entry goes on with the line */
	const char *text; /* len bytes of whatever the guest printed, without the newline */
	size_t len;
};

/* Returns 0 to go on; a negative errno ends the reading with it. */
typedef int (*mvm_log_fn)(void *arg, const struct mvm_log_entry *entry);

struct mvm_logs_options {
	size_t size;	      /* MVM_LOGS_OPTIONS_INIT sets it (mvm/struct.h) */
	bool console;	      /* what the kernel, the image's init and the agent print */
	bool workload;	      /* what the template's command prints; neither of the two: both */
	bool timestamps;      /* begin each line with when it came */
	const uint64_t *tail; /* only so many of the last lines; NULL: all */
	const char *since;    /* only what came from then on: RFC 3339, or "10m" ago; NULL: all */
	bool follow;	      /* go on until the instance has ended */
	const int *cancel_fd; /* stop following when this becomes readable; NULL: never */
	const int *out_fd;    /* what gets the log; may be NULL with fn */
	bool visible;	      /* for terminals: spell out what one would obey, ESC as "^[" */
	mvm_log_fn fn; /* gets the entries in place of out_fd, with `timestamps` and `visible`
			* left to it; NULL: none */
	void *arg;
};
#define MVM_LOGS_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_logs_options)

/*
 * Copy what an instance has printed to a descriptor, the oldest first.
 *
 * Each of its two logs keeps between one and two times its size limit.  Errors: -EINVAL (since),
 * -ENOENT, and what writing says.
 */
MVM_API int mvm_instance_logs(struct mvm *mvm, const char *name,
			      const struct mvm_logs_options *options, struct mvm_error *err);

#endif
