/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_INSTANCE_H
#define MVM_INSTANCE_H

/*
 * Instances: microVMs that were started from a template's revision.
 *
 * mvm_instance_start() decides between restoring the revision's snapshot and a cold boot.  It
 * starts a supervisor process that owns the VM, and returns when the guest is up with an identity
 * of its own.  The handle is a connection to that supervisor.  The caller may close the handle of a
 * detached instance at once.  Closing the handle of an attached instance ends the VM and removes
 * the instance, also when the caller's process dies.
 *
 * Calls that wait for a VM or its supervisor take a `progress`, which may be NULL.  Its receiver or
 * its cancel_fd ends the wait: -ECANCELED.  The supervisor goes on with what it has begun.
 */

#include <mvm/copy.h>
#include <mvm/error.h>
#include <mvm/logs.h>
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
	MVM_INSTANCE_SUSPENDED, /* its state is kept, and it has no VM (mvm/suspend.h) */
};

/* The state's name as it appears in JSON: "running".  Static. */
MVM_API const char *mvm_instance_state_name(enum mvm_instance_state state);

#define MVM_ADDRESS_SIZE 46 /* any numeric IPv4 or IPv6 address, with the NUL */

/* A host port that leads to a port of the guest. */
struct mvm_forward {
	bool udp;
	char host_address[MVM_ADDRESS_SIZE]; /* numeric IPv4 or IPv6 address; "" means 127.0.0.1 */
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

/*
 * Check a label, `KEY=VALUE` or `KEY`: the key has 1 to 128 of A-Z a-z 0-9 . _ / -, and starts with
 * a letter or digit; the value is UTF-8 without control characters.
 *
 * Returns 0 or -EINVAL with what is wrong.
 */
MVM_API int mvm_label_check(const char *text, struct mvm_error *err);

/* A folder or file of this host, or a named volume (mvm/volume.h).  It is copied into the guest
 * before the workload starts, and belongs to the workload's user there. */
struct mvm_volume {
	char *host, *guest;   /* absolute; owned */
	char *name;	      /* of a named volume; host is NULL then; owned */
	bool write_back;      /* copy it back when the VM is stopped; only for one VM at a time */
	uint64_t reserved[2]; /* 0: members of later versions (mvm/struct.h) */
};
MVM_API void mvm_volume_done(struct mvm_volume *v); /* NULL is fine */

/*
 * Parse "HOST:GUEST[:ro|:rw]", where GUEST is absolute.  A HOST that begins with '/' or '.' is the
 * path of a folder or file, and is made absolute.  Any other HOST names a volume, which is created
 * at its first use and is :rw by default.
 *
 * Returns 0; -EINVAL with what is wrong; -ENOENT or another errno when HOST cannot be used.
 */
MVM_API int mvm_volume_parse(const char *text, struct mvm_volume *ret, struct mvm_error *err);

#define MVM_VOLUMES_MAX 16

/*
 * Check volumes as a start does: each by itself, and all of them against each other.  They need not
 * come from mvm_volume_parse().
 *
 * Returns 0; -EINVAL when one is not valid, when two have the same place in the guest or one lies
 * inside the other, or when two would be copied back to the same place of this host; -EOPNOTSUPP
 * when `reserved` is not 0; -ENOENT or another errno when a host path cannot be used.
 */
MVM_API int mvm_volumes_check(const struct mvm_volume *list, size_t n, struct mvm_error *err);

enum mvm_start_kind {
	MVM_START_AUTO,		    /* restore if possible, else boot and say why */
	MVM_START_COLD,		    /* boot, even if there is a snapshot */
	MVM_START_REQUIRE_SNAPSHOT, /* restore or fail with -EOPNOTSUPP */
};

/* When to start an instance again that has ended by itself.  The pause before a restart grows. */
enum mvm_restart {
	MVM_RESTART_NO,
	MVM_RESTART_ON_FAILURE, /* the VM failed, or the workload's status was not 0 */
	MVM_RESTART_ALWAYS,
	MVM_RESTART_UNLESS_STOPPED, /* as ALWAYS: no instance outlives its host's boot */
};

/* How mvm ends an instance whose time is over. */
enum mvm_then {
	MVM_THEN_STOP,
	MVM_THEN_SUSPEND, /* mvm/suspend.h */
};

/*
 * Parse "no", "on-failure[:N]", "always" or "unless-stopped".
 *
 *   ret_max  N: restarts in a row; 0 when the text has no N: ten
 *
 * Returns 0 or -EINVAL with what is wrong.
 */
MVM_API int mvm_restart_parse(const char *text, enum mvm_restart *ret, uint32_t *ret_max,
			      struct mvm_error *err);

struct mvm_start_options {
	size_t size;		  /* MVM_START_OPTIONS_INIT sets it (mvm/struct.h) */
	const char *template_ref; /* "ID" or "ID@REVISION" */
	const char *name;	  /* NULL: a name made from the template's id */
	bool attached;		  /* closing the handle ends and removes the instance */
	bool held;		  /* also for a detached one, until mvm_instance_keep() */
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
	bool keep_running;    /* the workload's end does not end the VM; implied by `exec` */
	bool remove_at_end;   /* forget it when it has ended; implied by `attached` */
	bool private_memory;  /* a clone gets a copy of the snapshot's memory: see below */
	bool exec;	      /* the caller will run commands: refuse a guest without an agent */
	/* "K=V", NULL-terminated, over the workload's own; NULL: none.  A restored workload runs
	 * already and cannot take new variables.  So a VM with any boots, unless the workload
	 * starts in each clone (doc/clones.md). */
	const char *const *env;
	const char *hostname;	/* NULL: the instance's name */
	int64_t ttl_ms;		/* its time to live, see ttl_action; 0: no end */
	uint64_t log_max_bytes; /* size limit of each of its logs; 0: 8 MiB */
	/* time to copy its volumes in, and to copy them back when nobody waits for that: at the
	 * end of its workload or its time to live; 0: 5 minutes */
	int64_t volume_timeout_ms;
	bool verify; /* first read all files of the revision, not only the changed ones */
	/* what the guest may reach of the network, besides what the template says
	 * (doc/network.md); NULL-terminated; NULL: none */
	const char *const *network_allow, *const *network_deny;
	/* it reaches nothing, whatever the template's rules are: denied "all" in their place;
	 * not with network_allow.  A clone keeps its network card, and forwards reach it. */
	bool no_network;
	/* "KEY=VALUE" or "KEY" (mvm_label_check()), NULL-terminated; NULL: none.  At most 32
	 * labels, with 4096 bytes together; of two with one key the last counts */
	const char *const *labels;
	/* addresses of name servers, at most 4, in place of the template's and the host's;
	 * NULL-terminated; NULL: none */
	const char *const *network_dns;
	/* start the VM without its workload, to look what is wrong with that: it is up once its
	 * agent answers, the template's health check is not asked, and on_restore does not run.  A
	 * restored workload runs already, so the VM boots unless the workload starts in each clone
	 * (doc/clones.md) */
	bool no_workload;
	/* size of the disk that takes what the guest writes to its root; 0: the template's.  A
	 * snapshot fits the disk that it was made with: with another size the VM boots. */
	uint32_t root_disk_mib;
	/* What happens when ttl_ms are over, and when nobody has used the VM for on_idle_ms (0: no
	 * limit; at least 10 seconds): no command, copy or session runs in its guest, and no data
	 * comes or goes by its forwarded ports.  Needs QEMU.  The times begin anew with each start
	 * and resume.  With MVM_THEN_SUSPEND the VM must be restored, detached and without volumes
	 * that are copied back: -EINVAL or -EOPNOTSUPP.  Is it in use at the end of its time, it is
	 * suspended once it is not; a VM that has booted, by mvm_instance_start_again() say, is
	 * stopped instead. */
	enum mvm_then ttl_action;
	int64_t on_idle_ms;
	enum mvm_then on_idle_action;
};
#define MVM_START_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_start_options)

/*
 * Start an instance.
 *
 *   options   borrowed
 *   progress  gets a note with the reason for a cold boot instead of a restore; may be NULL
 *   ret       connection to the running instance; mvm_instance_close() it
 *
 * Errors: -EINVAL (an option; the text names it), -ENOENT (template, revision or image is missing),
 * -EEXIST (name in use), -EADDRINUSE (a port), -EOPNOTSUPP (no usable backend; no usable snapshot
 * although required; `reserved` of a forward or volume is not 0), -EBADMSG (the snapshot's or the
 * image's files are damaged), -ECANCELED (it was stopped before it was up), -ETIMEDOUT, -EREMOTEIO.
 * A detached instance whose guest did not come up is kept as failed, for its logs, unless
 * remove_at_end is set.  Otherwise nothing stays behind.
 * Cost of a restore: one process for the supervisor and one for the VMM.  Guest memory is mapped,
 * never copied, so clones share page cache.  From its timing a clone could learn what others have
 * read.  With private_memory each clone gets a copy, by reflink where the file system can, and no
 * VM is taken from a pool.
 */
MVM_API int mvm_instance_start(struct mvm *mvm, const struct mvm_start_options *options,
			       const struct mvm_progress *progress, struct mvm_instance **ret,
			       struct mvm_error *err);

/*
 * Start n instances as one operation: either all of them run at the end or none does, even if the
 * process is killed meanwhile.  An instance whose guest did not come up is kept as failed.
 *
 *   n    1 to MVM_START_MANY_MAX
 *   ret  array of n connections, each to be closed; all NULL after a failure
 *
 * With a name, they are called NAME-1, NAME-2 and so on; a forwarded host port must be 0.  A few
 * start at a time.  Errors as mvm_instance_start().
 */
#define MVM_START_MANY_MAX 1000u
MVM_API int mvm_instance_start_many(struct mvm *mvm, const struct mvm_start_options *options,
				    uint32_t n, const struct mvm_progress *progress,
				    struct mvm_instance **ret, struct mvm_error *err);

/*
 * Start an instance that has ended again: with its name, its revision and everything that its start
 * was given, and with the rules that its network had last.
 *
 *   progress  as in mvm_instance_start(); may be NULL
 *   ret       connection to the running instance; mvm_instance_close() it
 *
 * Its data and root disks keep their contents; then it boots, since a snapshot fits only the disks
 * that it was made with.  Everything else in the guest is as after its first start, and volumes are
 * copied in again.  Its logs go on.  A port 0 stays the port that it got. Errors: -ENOENT (no such
 * instance, or its revision was removed); -EBUSY (it runs); else as mvm_instance_start().  After a
 * failure the instance is there still, as failed or as it was.
 */
MVM_API int mvm_instance_start_again(struct mvm *mvm, const char *name,
				     const struct mvm_progress *progress, struct mvm_instance **ret,
				     struct mvm_error *err);

/* Connect to a running instance.  -ENOENT when the name is unknown, -EBUSY when the instance does
 * not run (the text says why). */
MVM_API int mvm_instance_open(struct mvm *mvm, const char *name, struct mvm_instance **ret,
			      struct mvm_error *err);

/* Hang up.  NULL is fine. */
MVM_API void mvm_instance_close(struct mvm_instance *instance);

/* Let go of a detached instance that was started with `held`: call this once the user knows its
 * name.  Until then it ends with the handle, or with the process. */
MVM_API void mvm_instance_keep(struct mvm_instance *instance);

/* The name of the instance, owned by the handle. */
MVM_API const char *mvm_instance_name(const struct mvm_instance *instance);

/* The instance's record at the end of its start, as JSON, owned by the handle.  The instance may
 * have ended or been removed since.  NULL for a handle of mvm_instance_open(). */
MVM_API const char *mvm_instance_start_json(const struct mvm_instance *instance);

/* Something that the rules for an instance's network refused, by its destination. */
struct mvm_refusal {
	const char *target;   /* an address, or the name that was asked for; a guest chose it */
	uint16_t port;	      /* 0: none */
	const char *protocol; /* "tcp", "udp", "icmp", "dns" */
	const char *reason;   /* "denied", "private", "special", "host" (doc/network.md) */
	uint64_t count;
	const char *last_at;  /* RFC 3339 */
	uint64_t reserved[2]; /* 0: members of later versions (mvm/struct.h) */
};

/* What is known about an instance.  Strings are owned by the struct; absent ones are NULL. */
struct mvm_instance_info {
	char *name, *template_id, *revision;
	enum mvm_instance_state state;
	bool restored;	/* restored from a snapshot; false: booted */
	bool from_pool; /* taken from a pool (mvm/pool.h) */
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
	bool workload_ended; /* the template's command has ended */
	/* The workload's, or 128 + its signal, also when the VM failed after its workload had
	 * ended; -1: none. */
	int exit_code;
	/* of a running one: current use of its VMM */
	uint64_t cpu_ns;
	uint64_t memory_private_bytes, memory_shared_bytes;
	uint64_t disk_bytes; /* of its folder */
	char *json;	     /* instance.json, with the usage added */
	/* rules for its network; NULL-terminated, never NULL */
	const char *const *network_allow, *const *network_deny;
	char *network_problem;	      /* why it has no network though it should; NULL: it has */
	uint64_t network_refused;     /* how often a rule refused something */
	struct mvm_refusal *refusals; /* the latest destinations, the last one first */
	size_t n_refusals;
	const char *const *labels; /* "KEY=VALUE"; NULL-terminated, never NULL */
	char *forked_from;	   /* the instance that it is a fork of; NULL: none */
	/* name servers that its start named, in place of others; NULL-terminated, never NULL */
	const char *const *network_dns;
	/* its limits (struct mvm_start_options) */
	int64_t ttl_ms, on_idle_ms;
	enum mvm_then ttl_action, on_idle_action;
	char *disk_problem; /* why one of its disks failed since its start; NULL: none did */
	/* why a limit could not suspend it since its start; NULL: it is no limit's time, or in
	 * use */
	char *suspend_problem;
	bool volumes_lost; /* at its end some volumes did not come back: "error" in json names
			    * them */
};
MVM_API void mvm_instance_info_free(struct mvm_instance_info *info);

/*
 * Find the instances that a killed supervisor or a host that went down left behind.  Each one's
 * record then says so, its sockets are removed, and progress gets a note.  When one cannot be
 * recorded, on a full disk say, the others still are; the first such failure is the error.
 *
 * A folder among the instances that mvm did not make, or that a user copied or renamed, is left
 * alone; progress gets a note about it the first time.
 */
MVM_API int mvm_instance_settle(struct mvm *mvm, const struct mvm_progress *progress,
				struct mvm_error *err);

/* Look an instance up, running or not; mvm_instance_info_free() *ret.  Reads its record and what
 * /proc and the file system say of it, and asks no supervisor.  Errors: -ENOENT; -EBADMSG (its
 * record is damaged); -EINVAL (no valid name). */
MVM_API int mvm_instance_inspect(struct mvm *mvm, const char *name, struct mvm_instance_info **ret,
				 struct mvm_error *err);

/* All instances by name, each as mvm_instance_inspect() gives it; mvm_instance_list_free() the
 * list.  One whose record is damaged is listed as failed, and one whose record a newer mvm wrote as
 * running or, without a supervisor, as failed; `error` says what is wrong.  Folders that mvm did
 * not make are left out, and so are the VMs of pools and builds. */
MVM_API int mvm_instance_list(struct mvm *mvm, struct mvm_instance_info ***ret, size_t *ret_n,
			      struct mvm_error *err);
MVM_API void mvm_instance_list_free(struct mvm_instance_info **list, size_t n);

struct mvm_exec_options {
	size_t size;		    /* MVM_EXEC_OPTIONS_INIT sets it (mvm/struct.h) */
	const char *const *command; /* NULL-terminated argument vector */
	const char *const *env;	    /* NULL-terminated "K=V"; NULL: none */
	/* NULL or "": the workload's, else / and root.  A user is "name", "uid" or "uid:gid". */
	const char *workdir, *user;
	bool tty;			  /* give the command a terminal */
	const int *stdin_fd;		  /* NULL: no input */
	const int *stdout_fd, *stderr_fd; /* NULL: dropped */
	const int *signal_fd;		  /* signalfd(2), SIGWINCH as a resize; NULL: none */
	int64_t timeout_ms;		  /* 0: none */
	const int *cancel_fd;		  /* kills the command once it is readable; NULL: none */
};
#define MVM_EXEC_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_exec_options)

/*
 * Run a command in the guest, with its streams, to its end.
 *
 * The first signal from signal_fd is passed on to the command, which then has 10 s to end.  The
 * second signal ends the call at once.  So does a signal before the command has started and, on a
 * terminal, ~. at the beginning of a line.
 *
 *   ret_status  the exit code, or 128 + the signal that ended it; also with -ECANCELED
 *
 * Errors: -ENOENT (no such program in the guest), -EACCES (it cannot be executed), -ETIMEDOUT
 * (it was killed), -ECANCELED (likewise), -EREMOTEIO (the VM has ended), -EFBIG (command and
 * environment too large).
 */
MVM_API int mvm_instance_exec(struct mvm_instance *instance, const struct mvm_exec_options *options,
			      int *ret_status, struct mvm_error *err);

/*
 * End the VM behind a handle and wait until it is gone.  An attached instance is then removed.
 *
 *   timeout_ms  for the guest to shut down by itself; 0: kill it at once
 *
 * Returns 0 also when it has ended already.  Takes no longer than timeout_ms and a few seconds.
 * Errors: -ECANCELED, -ETIMEDOUT (its supervisor does not answer).
 */
MVM_API int mvm_instance_finish(struct mvm_instance *instance, int64_t timeout_ms,
				const struct mvm_progress *progress, struct mvm_error *err);

struct mvm_wait_options {
	size_t size;	      /* MVM_WAIT_OPTIONS_INIT sets it (mvm/struct.h) */
	int64_t timeout_ms;   /* 0: none */
	const int *cancel_fd; /* readable: -ECANCELED; NULL: none */
};
#define MVM_WAIT_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_wait_options)

/*
 * Wait until the VM has ended and no restart follows.
 *
 *   options     borrowed; NULL: as long as it takes
 *   ret_status  its exit_code as in struct mvm_instance_info; may be NULL
 *
 * Errors: -ETIMEDOUT (it still runs); -ECANCELED.
 */
MVM_API int mvm_instance_wait(struct mvm_instance *instance, const struct mvm_wait_options *options,
			      int *ret_status, struct mvm_error *err);

/*
 * Wait until the template's command has ended in the guest.
 *
 *   options     borrowed; NULL: as long as it takes
 *   ret_status  its exit code, or 128 + the signal that ended it
 *
 * Errors: -ETIMEDOUT; -ECANCELED; -ESRCH (the VM ended first); -EINVAL (the guest runs an init,
 * which ends only with its VM); -EBUSY (the VM is paused).
 */
MVM_API int mvm_instance_wait_workload(struct mvm_instance *instance,
				       const struct mvm_wait_options *options, int *ret_status,
				       struct mvm_error *err);

/*
 * Stop an instance: copy its volumes back, shut the guest down, and return when the VM is gone.
 *
 *   timeout_ms  for copy and shutdown together; a guest that still runs then is killed.  0: copy
 *               nothing and kill it at once
 *   progress    if it ends the copy, the VM runs on; a shutdown goes on
 *
 * If the copy fails, the VM goes on running.  The instance stays listed until it is removed.  A
 * start that is under way is cancelled.  A VM that is already ending copies back by itself, and
 * gets this time for it.  The state of a suspended instance is discarded.
 * Takes no longer than timeout_ms and a few seconds.
 * Errors: -ENOENT; -EBUSY when it does not run; -EIO when it has ended but volumes did not come
 * back.
 */
MVM_API int mvm_instance_stop(struct mvm *mvm, const char *name, int64_t timeout_ms,
			      const struct mvm_progress *progress, struct mvm_error *err);

/*
 * mvm_instance_stop() and then mvm_instance_start_again().  One that has ended is only started.
 *
 *   timeout_ms  as in mvm_instance_stop()
 *
 * Errors: -EINVAL (its end would remove it, so it runs on); those of the two.
 */
MVM_API int mvm_instance_restart(struct mvm *mvm, const char *name, int64_t timeout_ms,
				 const struct mvm_progress *progress, struct mvm_instance **ret,
				 struct mvm_error *err);

/*
 * Give an instance another name, whether it runs or has ended.
 *
 * Its folder gets that name, with its logs and its record; the record's former_name has the old
 * one. The guest keeps its host name, also when it starts again.  A handle that is open already
 * keeps its connection, and its old name in mvm_instance_name().  After a crash the instance has
 * the old or the new name. Errors: -ENOENT; -EEXIST (the new name is in use); -EINVAL (no valid
 * name; an attached instance, or one that its starter still holds); -EBUSY (it is being started or
 * stopped); -EOPNOTSUPP (the supervisor of an older mvm).
 */
MVM_API int mvm_instance_rename(struct mvm *mvm, const char *name, const char *new_name,
				const struct mvm_progress *progress, struct mvm_error *err);

/*
 * Send a signal.  "KILL" ends the VM at once, like mvm_instance_stop() with a timeout of 0.  Any
 * other signal goes to the process of the template's command, or to the image's own init.
 *
 *   signal  "TERM", "SIGTERM" or "15", in any case
 *
 * Errors: -EINVAL (no such signal), -EBUSY (the VM does not run), -ESRCH (nothing runs in it any
 * more), -EOPNOTSUPP (no agent, or an agent older than this call).
 */
MVM_API int mvm_instance_kill(struct mvm *mvm, const char *name, const char *signal,
			      const struct mvm_progress *progress, struct mvm_error *err);

/* A process in a guest, as its kernel reports it.  All borrowed. */
struct mvm_process {
	int64_t pid, parent_pid;
	uint32_t uid;
	char state;	       /* R, S, D, T, Z and so on: proc_pid_stat(5) */
	int64_t cpu_ns;	       /* CPU time used */
	uint64_t memory_bytes; /* resident */
	const char *command;   /* arguments joined by spaces, or its name; cut when long */
};

/* Returns 0 to go on; a negative errno ends the list with it. */
typedef int (*mvm_process_fn)(void *arg, const struct mvm_process *process);

/*
 * List the processes of a running guest by pid, without kernel threads.  One answer of the agent
 * has room for some hundred; the rest is left out.  Errors as for mvm_instance_kill().
 */
MVM_API int mvm_instance_processes(struct mvm *mvm, const char *name,
				   const struct mvm_progress *progress, mvm_process_fn fn,
				   void *arg, struct mvm_error *err);

/*
 * Freeze and unfreeze a running instance's virtual CPUs.  Processes in the guest notice nothing;
 * its clock is set after the resume.  mvm_instance_resume() also continues a suspended instance
 * (mvm/suspend.h), in the background.
 *
 * Waits up to 10 s for the VMM.  Errors: -ENOENT; -EBUSY (it does not run, is being started or
 * stopped, or is paused or running already); -EOPNOTSUPP (the backend cannot do it; the suspended
 * VM cannot go on here); -EBADMSG (its saved state is damaged); -ETIMEDOUT.  After a
 * failure a suspended instance stays suspended if its guest has not run.
 */
MVM_API int mvm_instance_pause(struct mvm *mvm, const char *name,
			       const struct mvm_progress *progress, struct mvm_error *err);
MVM_API int mvm_instance_resume(struct mvm *mvm, const char *name,
				const struct mvm_progress *progress, struct mvm_error *err);

/*
 * Let a running instance live for ttl_ms from now on, in place of what is left of its time to live;
 * 0: without an end.
 *
 * What happens then stays as it was started (ttl_action).  A restart or a resume begins this time
 * anew.  Errors: -ENOENT; -EINVAL; -EBUSY (it does not run, or is being started or stopped);
 * -EOPNOTSUPP (its supervisor is of an older mvm).
 */
MVM_API int mvm_instance_set_ttl(struct mvm *mvm, const char *name, int64_t ttl_ms,
				 const struct mvm_progress *progress, struct mvm_error *err);

/*
 * Forget an instance that does not run, with everything in its folder.  After a crash the instance
 * is still there or gone, and a second call removes it.
 *
 *   force  first end an instance that runs, is being started or stopped, or does not answer
 *
 * Errors: -EBUSY (it has not ended), -ENOENT (it does not exist, or was removed just now),
 * -EOPNOTSUPP (a newer mvm wrote its record).
 */
MVM_API int mvm_instance_remove(struct mvm *mvm, const char *name, bool force,
				const struct mvm_progress *progress, struct mvm_error *err);

/*
 * mvm_instance_remove() of an instance that the user has not named, such as one of a list.  It
 * removes only what mvm made: the folder stays whole when its record is damaged or when it has
 * foreign files.  With `force` the VM is ended all the same.
 *
 * Errors: those of mvm_instance_remove(); the reasons "instance-not-alone" (-ENOTEMPTY) and
 * "instance-damaged".
 */
MVM_API int mvm_instance_remove_unnamed(struct mvm *mvm, const char *name, bool force,
					const struct mvm_progress *progress, struct mvm_error *err);

#endif
