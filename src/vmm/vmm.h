/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_VMM_H
#define VMM_VMM_H

/*
 * One virtual machine monitor (VMM) process of any backend.
 *
 * Calling sequence for a cold boot: vmm_backend_find, vmm_backend_probe, vmm_spawn, vmm_boot, then
 * pause, resume and snapshot as wanted, vmm_free.  For a restore: vmm_spawn with
 * config.memory = VMM_MEMORY_CLONE, vmm_restore.  vmm_free kills a process that still runs.
 *
 * Every wait runs the caller's event loop, which serves the console and everything else meanwhile.
 * Only vmm.c calls through the ops.  It checks state and capabilities and adds the VM's name to
 * errors.  Config generation is pure: same config, same arguments.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <mvm/digest.h>
#include <mvm/progress.h>

#include "base/error.h"
#include "base/loop.h"
#include "base/own.h"
#include "base/process.h"
#include "base/str.h"

enum vmm_accel { VMM_ACCEL_TCG, VMM_ACCEL_KVM };

/* A backend's version and abilities on this host.  Filled by probe; strings are owned. */
struct vmm_probe {
	bool usable;
	char *reason;	     /* why not usable, with the next step; NULL if usable */
	char *binary;	     /* absolute path; NULL if not found */
	char *binary_digest; /* SHA-256 of the binary, hex; NULL without a binary */
	char *version;	     /* full version string, package suffix included */
	char *state_format;  /* version of its device state files; NULL: `version` implies it */
	enum vmm_accel accel;
	char *accel_reason; /* why this accelerator: "KVM is usable", "no vmx or svm in ..." */
	uint32_t tsc_khz;   /* the host's, passed to guests; see accel.h */
};
void vmm_probe_done(struct vmm_probe *p);
DEFINE_AUTO_DONE(vmm_probe, vmm_probe_done)

/* Capabilities, as data. */
struct vmm_caps {
	bool snapshots;
	bool pause;
	bool network_user;	     /* outbound NAT and port forwards; see network_obstacle() */
	bool network_domains;	     /* rules for domains hold */
	bool network_visits;	     /* tells when somebody uses a forwarded port */
	bool shared_memory_clones;   /* clones map the snapshot's memory file copy-on-write */
	const char *agent_transport; /* "virtio-serial", "vsock" */
	uint32_t clone_least_mib;    /* memory that a clone takes at least until it answers */
	mode_t memory_mode;	     /* of a snapshot's memory file: may clones read it by name? */
};

/* How a VMM's process is halted. */
enum vmm_halt {
	VMM_HALT_OFF,	/* it goes on, and so does its network */
	VMM_HALT_PAUSE, /* the guest pauses */
	VMM_HALT_QUIET, /* it only answers its control socket: nothing comes from the network */
	VMM_HALT_STILL, /* it does nothing */
};

/* Walls between a VMM that a guest has taken over and the host; see doc/isolation.md. */
enum vmm_isolation {
	VMM_ISOLATION_USER = 1u << 0,	    /* a uid that no other process has */
	VMM_ISOLATION_JAILER = 1u << 1,	    /* Firecracker's jailer: root folder, cgroup, ids */
	VMM_ISOLATION_NAMESPACES = 1u << 2, /* mount with an empty root, PID, IPC, UTS, cgroup */
	VMM_ISOLATION_NETWORK = 1u << 3,    /* no network, or one of its own */
	VMM_ISOLATION_LANDLOCK = 1u << 4,
	VMM_ISOLATION_SYSCALLS = 1u << 5, /* an allow-list */
};

/* The names of the set bits, as in "user namespaces landlock"; without one "none".  Returns ret. */
#define VMM_ISOLATION_TEXT_SIZE 80u
const char *vmm_isolation_text(unsigned isolation, char ret[VMM_ISOLATION_TEXT_SIZE]);

enum vmm_memory {
	VMM_MEMORY_PRIVATE, /* anonymous: an ordinary cold boot */
	VMM_MEMORY_CAPTURE, /* shared with the new file memory_name: a boot that will be captured */
	VMM_MEMORY_CLONE,   /* private mapping of the existing file memory_name: a restore */
};

struct vmm_forward {
	bool udp;
	char host_address[46]; /* numeric */
	uint16_t host_port, guest_port;
};

/* A network's rules as text (model/policy.h), its name servers (none: the host's resolvers), and
 * its rate.  Borrowed. */
struct vmm_network {
	char *const *allow, *const *deny, *const *dns;
	size_t n_allow, n_deny, n_dns;
	uint64_t bytes_per_s, packets_per_s; /* 0: no limit */
};

/* Something that the network's rules refused, from a process that a guest may have taken over:
 * checked and bounded. */
struct vmm_refusal {
	char target[254];	       /* a numeric address, or the name that was asked for */
	uint16_t port;		       /* 0: none */
	const char *protocol, *reason; /* static: "tcp", "udp", "icmp", "dns"; "denied", ... */
	uint64_t count;
};
#define VMM_REFUSALS_MAX 8u

struct vmm_network_news {
	uint64_t n_refused;		    /* since the last news */
	const struct vmm_refusal *refusals; /* some of them; valid for the call */
	size_t n;
	const char *problem; /* the network has ended, and why; NULL: nothing new */
	bool is_back;	     /* and serves again */
	bool visited;	     /* somebody has used a forwarded port since the last news */
};
/* Called from the loop. */
typedef void (*vmm_network_fn)(void *arg, const struct vmm_network_news *news);

/* The host could not read or write a drive, and the guest was told of an I/O error. */
struct vmm_disk_error {
	size_t drive; /* its place in the config */
	bool write;
	bool no_room; /* the host's disk is full */
};
/* Called from the loop. */
typedef void (*vmm_disk_fn)(void *arg, const struct vmm_disk_error *error);

struct vmm_drive {
	const char *name; /* file, relative to dir_fd */
	bool read_only;
	bool own;	    /* a disk of this VM's own; relative to own_dir_fd instead */
	const char *option; /* kernel option that tells the guest its device; NULL: none */
};

/*
 * The VM to run.  vmm_spawn borrows it for the call, and work_fd until vmm_free.  File names are
 * relative to dir_fd, so the VM keeps its revision's files when the revision is replaced.
 */
struct vmm_config {
	const char *name; /* of the VM, for messages and the process title */
	unsigned vcpus;
	uint32_t mem_mib;
	int dir_fd;	     /* the revision's folder */
	const char *kernel;  /* "vmlinux" */
	const char *initrd;  /* "initrd"; may be NULL */
	const char *cmdline; /* the whole kernel command line, from ops->cmdline */
	struct vmm_drive drives[4];
	size_t n_drives;
	int own_dir_fd;	   /* folder of the drives with `own`; unused without one */
	bool network;	   /* user networking */
	bool network_held; /* nothing passes until the network gets rules again */
	bool continues;	   /* a kept VM: map_memory(), its pages and restore() */
	struct vmm_network network_rules;
	const struct vmm_forward *forwards;
	size_t n_forwards;
	enum vmm_memory memory;
	/* folder of memory_name; unused for VMM_MEMORY_PRIVATE.  Once the clone is restored, the
	 * caller may unlink the file */
	int memory_dir_fd;
	const char *memory_name; /* "mem.bin" */
	/* restore() follows, from the device state in state_dir_fd: the VMM may open it at its
	 * start, to be faster, and must not read it before */
	bool restores;
	int state_dir_fd; /* unused unless it restores */
	int work_fd;	  /* a folder of this VM's own, for the backend's files */
	int agent_fd;	  /* the VMM's end of the agent channel; connected stream socket */
	/*
	 * For backends whose guest dials (over vsock).  Called from the loop when the guest has
	 * dialled: fd, connected and non-blocking, is the agent's channel from now on.  The
	 * backend has passed on everything that was sent by agent_fd before.  If the callback
	 * returns 0, it owns fd.  agent_fd hangs up only if the VMM ends before the guest dials.
	 * fd -1: the channel is lost, and the guest dials again once it runs; agent_fd is the
	 * channel until then (save_devices()).  NULL: the backend relays all bytes between fd and
	 * agent_fd, which costs a copy each.  A backend that gives agent_fd to its VMM never calls
	 * this.
	 */
	int (*on_agent)(void *arg, int fd);
	void *on_agent_arg;
	int console_fd; /* the VMM's end of the console; connected stream socket */
	int log_fd;	/* the VMM's standard error; -1: /dev/null */
};

/* Does the VM have a disk of its own? */
bool vmm_has_own_drive(const struct vmm_config *c);

enum vmm_state {
	VMM_SPAWNED, /* the process runs and has answered; the guest has not run */
	VMM_RUNNING,
	VMM_PAUSED,
	VMM_ENDED, /* the process has ended; see exit_status */
};

struct vmm;

/* Our ends of a VMM's channels, and its process.  Each is open or -1. */
enum vmm_end {
	VMM_END_CONTROL, /* the connection on which the VMM takes orders */
	VMM_END_WORDS,	 /* the reading end of its standard error */
	VMM_END_PROCESS, /* a pidfd */
	VMM_END_NETWORK, /* the connection on which mvm-net takes orders */
	VMM_END_NOTICE,	 /* an inotify descriptor: the VMM may have made its control socket */
	VMM_END_LISTEN,	 /* a listening socket, which the guest calls */
	VMM_END_CHANNEL, /* the far end of the agent channel, until the guest has called */
	VMM_ENDS,
};
struct vmm_ends {
	int fd[VMM_ENDS];
	int64_t pid;
	unsigned isolation; /* bits of enum vmm_isolation */
};
#define VMM_ENDS_NONE                                                                              \
	{                                                                                          \
		.fd = { -1, -1, -1, -1, -1, -1, -1 }                                               \
	}
void vmm_ends_done(struct vmm_ends *e);
DEFINE_AUTO_DONE(vmm_ends, vmm_ends_done)

/*
 * A VMM's process with everything that takes rights to make: its user, namespaces and files.
 *
 * A guest that has broken into its VMM decides what the VMM says.  So a backend has two halves:
 * this one has the rights and reads nothing from the VMM; struct vmm talks to the VMM and has only
 * the ends.  The halves may be in two processes.
 */
struct vmm_body {
	const struct vmm_ops *ops;
	struct process process; /* reaped here */
};

/* By these calls struct vmm asks for what only the body can do. */
struct vmm_keeper {
	/* Take the host's files from the VMM, which has opened its own.  No workload has run
	 * yet. */
	int (*seal)(void *arg, struct mvm_error *err);
	/* Reap the VMM, which has ended.  -ETIMEDOUT: it has not. */
	int (*reap)(void *arg, int *ret_status);
	/* Open the file of the device state, to write it (create) or to read it. */
	int (*open_state)(void *arg, bool create);
	/* Take back the files that were given to the VMM.  It writes them no more. */
	void (*take_back)(void *arg);
	void (*kill)(void *arg);
	/* Kill the VMM, reap it, and free the body. */
	void (*end)(void *arg);
	/* Start the VM's network again, which has ended, with the rules and ports of the moment.
	 * NULL: it cannot be. */
	int (*start_network)(void *arg, int *ret_control_fd, struct mvm_error *err);
	/* Take the host's files from the network's process, which serves. */
	int (*seal_network)(void *arg, struct mvm_error *err);
	/* The ops of these names. */
	int (*connect)(void *arg);
	int (*halt)(void *arg, enum vmm_halt how);
	bool (*host_swaps)(void *arg);
	int (*move_state)(void *arg, bool store, struct mvm_error *err);
	int (*open_port)(void *arg, const struct vmm_forward *forward, struct mvm_error *err);
	int (*set_rules)(void *arg, const struct vmm_network *rules, struct mvm_error *err);
	void *arg;
};

/* Called once, from the loop, when the VMM process has ended for any reason.  status as in wait(2);
 * vmm.guest_stopped tells whether the guest asked for it.  A wrapper's wait may call it, so it must
 * only record the end; vmm_free() comes later. */
typedef void (*vmm_ended_fn)(void *arg, int status);

/*
 * One backend: const and static, listed in vmm.c.  Deadlines are absolute monotonic nanoseconds;
 * each wait runs the loop.  The ops describe errors without the VM's name.
 */
struct vmm_ops {
	const char *name;
	struct vmm_caps caps;
	const char *binary;	/* program to find on PATH; NULL: no program, no cache */
	const char *binary_env; /* environment variable with another program; may be NULL */

	/* Find the binary, its version and the accelerator.  May start the binary, which progress
	 * may stop.  -errno only for -ECANCELED and failures of mvm itself (no memory): for a
	 * missing binary, usable is false and reason says why. */
	int (*probe)(const struct mvm_progress *progress, struct vmm_probe *ret,
		     struct mvm_error *err);

	/*
	 * Does mvm refuse VMs to this user, although the probe found the program usable?  Asked at
	 * each use, because the cache of probes has no answer.  Optional.
	 *
	 *   ret_why  the reason, with the remedy; the caller's; set when the result is 1
	 *
	 * Returns 1, 0 (not refused) or -ENOMEM.
	 */
	int (*refuses)(const struct vmm_probe *probe, char **ret_why);

	/* Why VMs of this user can have no network on this host, with the remedy; NULL: they can.
	 * Static text.  Optional: without this function a VM always can. */
	const char *(*network_obstacle)(void);

	/*
	 * The isolation of a VMM that this user starts, for a VM without a network: bits of enum
	 * vmm_isolation.
	 *
	 *   dir_fd        the folder of all VMs' folders
	 *   ret_obstacle  static text, why some isolation is missing; NULL: the backend offers no
	 *                 more
	 */
	unsigned (*confines)(const struct vmm_probe *probe, int dir_fd, const char **ret_obstacle);

	/* The whole kernel command line for a config, with the template's additions at its end. */
	int (*cmdline)(const struct vmm_probe *probe, const struct vmm_config *config,
		       const char *additions, char **ret, struct mvm_error *err);

	/*
	 * Add the backend's facts, "key=value" in a fixed order, that a snapshot made with this
	 * probe and config depends on: version, accelerator, machine type, CPU, TSC, device layout.
	 * Two hosts or configs with equal facts can exchange snapshots.
	 */
	int (*facts)(const struct vmm_probe *probe, const struct vmm_config *config,
		     struct strv *ret, struct mvm_error *err);

	/* Start the process and connect to its API.  The guest does not run yet.  After a failure
	 * no process is left, and the error text has the VMM's standard error.  NULL: vmm_spawn()
	 * calls start() and attach(). */
	int (*spawn)(const struct vmm_probe *probe, const struct vmm_config *config,
		     struct loop *loop, int64_t deadline_ns, struct vmm **ret,
		     struct mvm_error *err);

	/*
	 * Both halves of spawn(), which may be in two processes; NULL: there is only spawn().
	 *
	 * start() makes the process and does not wait for it; config's callbacks are unused.
	 * attach() takes the ends over, also when it fails, and waits until the VMM has answered.
	 * A failure of it calls the keeper's end().
	 */
	int (*start)(const struct vmm_probe *probe, const struct vmm_config *config,
		     struct loop *loop, struct vmm_body **ret, struct vmm_ends *ret_ends,
		     struct mvm_error *err);
	int (*attach)(const struct vmm_config *config, struct vmm_ends *ends,
		      const struct vmm_keeper *keeper, struct loop *loop, int64_t deadline_ns,
		      struct vmm **ret, struct mvm_error *err);
	int (*seal)(struct vmm_body *b, struct mvm_error *err);
	int (*open_state)(int dir_fd, bool create); /* returns a descriptor or -errno */
	void (*take_back)(struct vmm_body *b);
	void (*end)(struct vmm_body *b); /* cannot fail; NULL is fine */
	/*
	 * Keep a clone as it is at this moment, and continue it: save_devices() of struct vmm, then
	 * save_pages() and finish_state() here; later a restore() of that state, with load_pages()
	 * once the VMM has answered.  None of them looks into what the guest has written.  NULL:
	 * not supported.  b is NULL when there is none.
	 *
	 * save_pages() writes the pages that the clone has of its own (vmm/pages.h) and returns
	 * their number.  finish_state() makes a whole device state of what save_devices() has
	 * written.
	 *
	 *   base_fd  the snapshot's device state, from which the clone was restored
	 *   raw_fd   the file that save_devices() got
	 *   to_fd    a new, empty file
	 */
	int64_t (*save_pages)(const struct vmm_body *b, int to_fd, struct mvm_error *err);
	int (*load_pages)(const struct vmm_body *b, int from_fd, struct mvm_error *err);
	int (*finish_state)(const struct vmm_body *b, int base_fd, int raw_fd, int to_fd,
			    struct mvm_error *err);
	/* The network's process has ended: another one.  Optional. */
	int (*start_network)(struct vmm_body *b, const struct vmm_config *config,
			     int *ret_control_fd, struct mvm_error *err);
	int (*seal_network)(struct vmm_body *b, struct mvm_error *err);
	/* The pid of the network's process; 0: there is none.  Optional. */
	pid_t (*network_pid)(const struct vmm_body *b);
	/*
	 * For a VMM that makes its control socket itself, and a network that the kernel has.  All
	 * are optional.
	 *
	 * connect() connects to that socket, once: the VMM, which a guest may take over later, has
	 * its folder.  -ENOENT, -ECONNREFUSED or -EAGAIN: not yet; VMM_END_NOTICE tells when.
	 * halt() stops the process itself, or lets it go on.  -EOPNOTSUPP: ask the VMM.  -EPERM: it
	 * cannot.
	 * host_swaps() tells whether memory may have been swapped out.
	 * move_state() stores the device state that the VMM has written, in dir_fd, or lays the one
	 * from there before the VMM.  It checks that the state is whole.
	 */
	int (*connect)(struct vmm_body *b);
	int (*halt)(struct vmm_body *b, enum vmm_halt how);
	bool (*host_swaps)(void);
	int (*move_state)(struct vmm_body *b, int dir_fd, bool store, struct mvm_error *err);
	int (*open_port)(struct vmm_body *b, const struct vmm_forward *forward,
			 struct mvm_error *err);
	int (*set_rules)(struct vmm_body *b, const struct vmm_network *rules,
			 struct mvm_error *err);

	/* Start the guest.  State SPAWNED. */
	int (*boot)(struct vmm *v, int64_t deadline_ns, struct mvm_error *err);

	int (*pause)(struct vmm *v, int64_t deadline_ns, struct mvm_error *err);
	int (*resume)(struct vmm *v, int64_t deadline_ns, struct mvm_error *err);

	/* Write device state to the new file "vmstate.bin" in dir_fd; the capture file has the
	 * memory already.  State PAUSED, config.memory CAPTURE.  The backend fsyncs the new file,
	 * and removes it on failure.  The caller fsyncs the memory file.  NULL if not supported. */
	int (*snapshot)(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err);

	/* Write device state without memory to fd, which is empty, or have the VMM keep it for
	 * finish_state().  State PAUSED, config.memory CLONE; the VM may be resumed afterwards.  A
	 * guest that has dialled may have to dial again then: see config.on_agent.  NULL if not
	 * supported. */
	int (*save_devices)(struct vmm *v, int fd, int64_t deadline_ns, struct mvm_error *err);

	/* For a VMM that maps the memory only when it loads a state: load it as restore() does, but
	 * let no guest run before restore() is called too.  State SPAWNED, config.memory CLONE.
	 * After a failure call only vmm_free.  NULL: the memory is mapped once the VMM has
	 * answered. */
	int (*map_memory)(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err);

	/* Load device state from "vmstate.bin" in dir_fd and let the guest run.  State SPAWNED,
	 * config.memory CLONE.  After a failure call only vmm_free.  NULL if not supported. */
	int (*restore)(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err);

	/* Forward a port of the host from now on.  Any state but ENDED, with config.network.  NULL:
	 * only vmm_spawn() can forward ports. */
	int (*forward)(struct vmm *v, const struct vmm_forward *forward, int64_t deadline_ns,
		       struct mvm_error *err);

	/* Other rules for the network from now on, for every flow.  State and config.network as
	 * for forward().  NULL: only vmm_spawn() takes rules. */
	int (*network_rules)(struct vmm *v, const struct vmm_network *rules, int64_t deadline_ns,
			     struct mvm_error *err);

	/* Ask the guest to end, as a machine's power button or keyboard does.  State RUNNING.  0
	 * means that the guest was asked; it may ignore that.  Optional. */
	int (*power_button)(struct vmm *v, int64_t deadline_ns, struct mvm_error *err);

	/* Send the process SIGKILL.  NULL: it is the caller's child. */
	void (*kill)(struct vmm *v);

	/* Kill and reap a running process, free everything.  Cannot fail. */
	void (*free)(struct vmm *v);
};

/* Every backend's struct begins with this one. */
struct vmm {
	const struct vmm_ops *ops;
	char *name;
	enum vmm_state state;
	enum vmm_memory memory;
	unsigned isolation; /* bits of enum vmm_isolation, as the process has them */
	struct process process;
	int exit_status;    /* wait status once VMM_ENDED */
	bool guest_stopped; /* the guest asked for power-off or reboot */
	bool guest_reset; /* it asked for reboot, as far as the VMM knows, or had a triple fault */
	vmm_ended_fn on_ended;
	void *on_ended_arg;
	vmm_network_fn on_network;
	void *on_network_arg;
	vmm_disk_fn on_disk;
	void *on_disk_arg;
	/* when each stage of the last start ended, monotonic ns; 0: not reached */
	int64_t spawned_ns, loaded_ns, resumed_ns;
};

/* All backends, in order of preference for `auto`.  NULL-terminated. */
extern const struct vmm_ops *const vmm_backends[];

/* Find a backend by name.  -EINVAL with the list of names when there is no such backend. */
int vmm_backend_find(const char *name, const struct vmm_ops **ret, struct mvm_error *err);

/* The backend's program as an absolute path, or -ENOENT. */
int vmm_backend_binary(const struct vmm_ops *ops, char **ret);

/*
 * Probe a backend, with a cache: asking QEMU for its version costs half as much as a restore.  The
 * answer is kept in cache_fd as "<backend>.json".  It is valid while the binary's device, inode,
 * size, mtime and ctime, the accelerator and the CPU are the same.
 *
 *   cache_fd  -1: no cache
 *   progress  may stop a program that does not answer: -ECANCELED; may be NULL
 */
int vmm_backend_probe(const struct vmm_ops *ops, int cache_fd, const struct mvm_progress *progress,
		      struct vmm_probe *ret, struct mvm_error *err);

/* Why a VM of this backend can have no network here, with the remedy; NULL: it can.  Static. */
const char *vmm_network_obstacle(const struct vmm_ops *ops);

/* Which accelerator this host has: KVM when /dev/kvm opens read-write and the CPU has vmx or svm;
 * MVM_ACCEL=kvm|tcg overrides.  ret_reason is static text. */
enum vmm_accel vmm_accel_choose(const char **ret_reason);
const char *vmm_accel_name(enum vmm_accel accel);

/* Wrappers of the ops, which are documented above.  They check and keep `state` and add context to
 * errors.  When the VMM dies during a wait, the wrapper fails with -EREMOTEIO and the last lines of
 * the VMM's standard error. */
int vmm_spawn(const struct vmm_ops *ops, const struct vmm_probe *probe,
	      const struct vmm_config *config, struct loop *loop, int64_t deadline_ns,
	      struct vmm **ret, struct mvm_error *err);
int vmm_boot(struct vmm *v, int64_t deadline_ns, struct mvm_error *err);
int vmm_pause(struct vmm *v, int64_t deadline_ns, struct mvm_error *err);
int vmm_resume(struct vmm *v, int64_t deadline_ns, struct mvm_error *err);
int vmm_snapshot(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err);
int vmm_restore(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err);
/* -EOPNOTSUPP for a VM that has booted, because its memory is in no snapshot. */
int vmm_save_devices(struct vmm *v, int fd, int64_t deadline_ns, struct mvm_error *err);
/* 0 without that op, too. */
int vmm_map_memory(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err);
/* -EADDRINUSE when the port cannot be bound. */
int vmm_forward(struct vmm *v, const struct vmm_forward *forward, int64_t deadline_ns,
		struct mvm_error *err);
int vmm_network_rules(struct vmm *v, const struct vmm_network *rules, int64_t deadline_ns,
		      struct mvm_error *err);
int vmm_power_button(struct vmm *v, int64_t deadline_ns, struct mvm_error *err);
/* The halves of vmm_spawn(), if the backend has them: see the ops.  vmm_keeper_of() is for a body
 * in the process that attaches: struct vmm opens the files of the device state itself then, and its
 * network does not return. */
struct vmm_keeper vmm_keeper_of(struct vmm_body *b);
int vmm_start(const struct vmm_ops *ops, const struct vmm_probe *probe,
	      const struct vmm_config *config, struct loop *loop, struct vmm_body **ret,
	      struct vmm_ends *ret_ends, struct mvm_error *err);
int vmm_attach(const struct vmm_ops *ops, const struct vmm_config *config, struct vmm_ends *ends,
	       const struct vmm_keeper *keeper, struct loop *loop, int64_t deadline_ns,
	       struct vmm **ret, struct mvm_error *err);
void vmm_kill(struct vmm *v);
void vmm_on_ended(struct vmm *v, vmm_ended_fn fn, void *arg);
void vmm_on_network(struct vmm *v, vmm_network_fn fn, void *arg);
void vmm_on_disk(struct vmm *v, vmm_disk_fn fn, void *arg);
void vmm_free(struct vmm *v);
DEFINE_AUTO(vmm, vmm_free)

#endif
