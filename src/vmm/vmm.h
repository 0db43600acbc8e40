/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_VMM_H
#define VMM_VMM_H

/*
 * One virtual machine monitor process, whatever its make.
 *
 * Calling sequence for a cold boot: vmm_backend_find, vmm_backend_probe, vmm_spawn, vmm_boot, then
 * pause, resume and snapshot as wanted, vmm_free.  For a restore: vmm_spawn with
 * config.memory = VMM_MEMORY_CLONE, vmm_restore.  vmm_free kills what still runs.
 *
 * All waiting happens in the caller's event loop, so that the console and everything else keeps
 * being served meanwhile.  Only vmm.c calls through the ops; it checks state and capabilities and
 * adds the VM's name to errors.  Config generation is pure: same config, same arguments.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/loop.h"
#include "base/own.h"
#include "base/process.h"
#include "base/str.h"

enum vmm_accel { VMM_ACCEL_TCG, VMM_ACCEL_KVM };

/* What a backend is and can do here.  Filled by probe; strings are owned. */
struct vmm_probe {
	bool usable;
	char *reason;	     /* why not usable, with the next step; NULL if usable */
	char *binary;	     /* absolute path; NULL if not found */
	char *binary_digest; /* SHA-256 of the binary, hex; NULL without a binary */
	char *version;	     /* full version string, package suffix included */
	char *state_format;  /* version of its device state files; NULL: `version` tells it */
	enum vmm_accel accel;
	char *accel_reason; /* why this accelerator: "KVM is usable", "no vmx or svm in ..." */
	uint32_t tsc_khz;   /* the host's, which guests are told; see accel.h */
};
void vmm_probe_done(struct vmm_probe *p);
DEFINE_AUTO_DONE(vmm_probe, vmm_probe_done)

/* Capabilities, as data. */
struct vmm_caps {
	bool snapshots;
	bool pause;
	bool network_user;	     /* outbound NAT and port forwards; see network_obstacle() */
	bool shared_memory_clones;   /* clones map the snapshot's memory file copy-on-write */
	const char *agent_transport; /* "virtio-serial", "vsock" */
	uint32_t clone_least_mib;    /* memory that no clone that answers does without */
};

/* What is between a VMM that is broken into and the host; see doc/isolation.md. */
enum vmm_isolation {
	VMM_ISOLATION_USER = 1u << 0,	    /* a uid that no other process has */
	VMM_ISOLATION_JAILER = 1u << 1,	    /* Firecracker's: a folder for its root, cgroup, ids */
	VMM_ISOLATION_NAMESPACES = 1u << 2, /* mount with an empty root, PID, IPC, UTS, cgroup */
	VMM_ISOLATION_NETWORK = 1u << 3,    /* no network, or one of its own */
	VMM_ISOLATION_LANDLOCK = 1u << 4,
	VMM_ISOLATION_SYSCALLS = 1u << 5, /* an allow-list */
};

/* The names of the set ones, "user namespaces landlock"; "none".  Returns ret. */
#define VMM_ISOLATION_TEXT_SIZE 80u
const char *vmm_isolation_text(unsigned isolation, char ret[VMM_ISOLATION_TEXT_SIZE]);

enum vmm_memory {
	VMM_MEMORY_PRIVATE, /* anonymous: an ordinary cold boot */
	VMM_MEMORY_CAPTURE, /* backed by the new file memory_name: a boot that will be captured */
	VMM_MEMORY_CLONE,   /* private mapping of the existing file memory_name: a restore */
};

struct vmm_forward {
	bool udp;
	char host_address[46]; /* numeric */
	uint16_t host_port, guest_port;
};

struct vmm_drive {
	const char *name; /* file, relative to dir_fd */
	bool read_only;
	bool own; /* relative to own_dir_fd instead: this VM's data disk */
};

/*
 * What to run.  Borrowed for vmm_spawn only, but for work_fd, whose folder outlives the VM.  File
 * names are relative to dir_fd, so that a revision that is replaced meanwhile stays whole for it.
 */
struct vmm_config {
	const char *name; /* of the VM, for messages and the process title */
	unsigned vcpus;
	uint32_t mem_mib;
	int dir_fd;	     /* the revision's folder */
	const char *kernel;  /* "vmlinux" */
	const char *initrd;  /* "initrd"; may be NULL */
	const char *cmdline; /* the whole of it, from ops->cmdline */
	struct vmm_drive drives[4];
	size_t n_drives;
	int own_dir_fd; /* folder of the drives that are its own; unused without any */
	bool network;	/* user networking */
	const struct vmm_forward *forwards;
	size_t n_forwards;
	enum vmm_memory memory;
	/* folder of memory_name; unused for VMM_MEMORY_PRIVATE.  A clone's file may be unlinked
	 * once it is restored */
	int memory_dir_fd;
	const char *memory_name; /* "mem.bin" */
	int work_fd;  /* a folder of this VM's own, for what a backend must keep in files */
	int agent_fd; /* the VMM's end of the agent channel; connected stream socket */
	/*
	 * Called once, from the loop, when a guest that dials (as over vsock) has done so: fd,
	 * connected and non-blocking, is the agent's channel from now on, and the callee's if it
	 * returns 0; what was sent by agent_fd before has been passed on.  agent_fd only hangs up
	 * should the VMM end before.  NULL: bytes are passed on between both, which costs a copy
	 * each.  A backend that gives agent_fd to its VMM never calls it.
	 */
	int (*on_agent)(void *arg, int fd);
	void *on_agent_arg;
	int console_fd; /* the VMM's end of the console; connected stream socket */
	int log_fd;	/* the VMM's standard error; -1: /dev/null */
};

/* The drive that is the VM's own, its data disk; NULL when it has none. */
const struct vmm_drive *vmm_own_drive(const struct vmm_config *c);

enum vmm_state {
	VMM_SPAWNED, /* the process is up and has answered; the guest has not run */
	VMM_RUNNING,
	VMM_PAUSED,
	VMM_ENDED, /* the process has ended; see exit_status */
};

struct vmm;

/* Called once, from the loop, when the VMM process has ended for whatever reason.  status as in
 * wait(2); vmm.guest_stopped tells whether the guest wanted it.  It may come while a wrapper waits,
 * so it only records; vmm_free() comes later. */
typedef void (*vmm_ended_fn)(void *arg, int status);

/*
 * One backend.  const and static, one per make, listed in vmm.c.  Deadlines are absolute monotonic
 * nanoseconds; each wait runs the loop.  Errors are described here, without the VM's name.
 */
struct vmm_ops {
	const char *name;
	struct vmm_caps caps;
	const char *binary;	/* program to find on PATH; NULL: nothing to find or cache */
	const char *binary_env; /* environment variable that names another; may be NULL */

	/* Is it here, which version, which accelerator.  May start the binary once; -errno only for
	 * our own failures (no memory): a missing binary is usable == false with a reason. */
	int (*probe)(struct vmm_probe *ret, struct mvm_error *err);

	/* Why VMs can have no network on this host as this user, with what mends it; NULL if they
	 * can.  Static text.  Optional: where there is user networking there is no obstacle. */
	const char *(*network_obstacle)(void);

	/* What keeps a VMM process that this user starts, for a VM without a network, from what is
	 * the user's: bits of enum vmm_isolation.  *ret_obstacle: static text, why it is not more;
	 * NULL when it is all that the backend can.  dir_fd: where VMs have their folders. */
	unsigned (*confines)(const struct vmm_probe *probe, int dir_fd, const char **ret_obstacle);

	/* The whole kernel command line for a config, the template's additions at its end. */
	int (*cmdline)(const struct vmm_probe *probe, const struct vmm_config *config,
		       const char *additions, char **ret, struct mvm_error *err);

	/*
	 * Add "key=value" facts, in a fixed order, that a snapshot made with this probe and config
	 * depends on beyond what every backend shares: version, accelerator, machine type, CPU,
	 * TSC, device layout.  Two hosts or configs with equal facts can exchange snapshots.
	 */
	int (*facts)(const struct vmm_probe *probe, const struct vmm_config *config,
		     struct strv *ret, struct mvm_error *err);

	/* Start the process, reach its API.  The guest does not run yet.  On failure nothing is
	 * left running and the text holds what the VMM said on its standard error. */
	int (*spawn)(const struct vmm_probe *probe, const struct vmm_config *config,
		     struct loop *loop, int64_t deadline_ns, struct vmm **ret,
		     struct mvm_error *err);

	/* Start the guest.  State SPAWNED. */
	int (*boot)(struct vmm *v, int64_t deadline_ns, struct mvm_error *err);

	int (*pause)(struct vmm *v, int64_t deadline_ns, struct mvm_error *err);
	int (*resume)(struct vmm *v, int64_t deadline_ns, struct mvm_error *err);

	/* Write device state to the new file "vmstate.bin" in dir_fd; memory is in the capture file
	 * already.  State PAUSED, config.memory CAPTURE.  The new file is fsynced; on failure it is
	 * removed.  fsync of the memory file is the caller's.  NULL if not supported. */
	int (*snapshot)(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err);

	/* Load device state from "vmstate.bin" in dir_fd and let the guest run.  State SPAWNED,
	 * config.memory CLONE.  After a failure only vmm_free is left.  NULL if not supported. */
	int (*restore)(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err);

	/* Forward a port of the host from now on, in any state but ENDED.  config.network was set.
	 * NULL: only vmm_spawn() can. */
	int (*forward)(struct vmm *v, const struct vmm_forward *forward, int64_t deadline_ns,
		       struct mvm_error *err);

	/* Tell the guest that somebody wants it to end, as a machine's power button or keyboard
	 * does.  State RUNNING.  0 says that it was told, not that it takes notice.  Optional. */
	int (*power_button)(struct vmm *v, int64_t deadline_ns, struct mvm_error *err);

	/* Kill and reap the process if it runs, free everything.  Cannot fail. */
	void (*free)(struct vmm *v);
};

/* What every backend's struct begins with. */
struct vmm {
	const struct vmm_ops *ops;
	char *name;
	enum vmm_state state;
	enum vmm_memory memory;
	unsigned isolation; /* bits of enum vmm_isolation, as the process has them */
	struct process process;
	int exit_status;    /* wait status once VMM_ENDED */
	bool guest_stopped; /* the guest itself asked for power-off or reboot */
	bool guest_reset;   /* and, so far as the VMM knows, for a reboot: a triple fault is one */
	vmm_ended_fn on_ended;
	void *on_ended_arg;
	/* when the stages of the last start were over, monotonic ns, 0 if not reached */
	int64_t spawned_ns, loaded_ns, resumed_ns;
};

/* The backends that exist, in order of preference for `auto`.  NULL-terminated. */
extern const struct vmm_ops *const vmm_backends[];

/* By name.  -EINVAL with the list of names when there is none. */
int vmm_backend_find(const char *name, const struct vmm_ops **ret, struct mvm_error *err);

/* The backend's program as an absolute path, or -ENOENT. */
int vmm_backend_binary(const struct vmm_ops *ops, char **ret);

/*
 * Probe, with a cache: asking QEMU for its version costs as much as half a restore, so the answer
 * is kept in cache_fd as "<backend>.json" and holds while the binary's device, inode, size, mtime
 * and ctime do and the accelerator question has the same answer.  cache_fd -1: no cache.
 */
int vmm_backend_probe(const struct vmm_ops *ops, int cache_fd, struct vmm_probe *ret,
		      struct mvm_error *err);

/* Why a VM of this backend can have no network here, with what mends it; NULL if it can.  Static.
 */
const char *vmm_network_obstacle(const struct vmm_ops *ops);

/* Which accelerator this host has: KVM when /dev/kvm opens read-write and the CPU has vmx or svm;
 * MVM_ACCEL=kvm|tcg overrides.  ret_reason is static text. */
enum vmm_accel vmm_accel_choose(const char **ret_reason);
const char *vmm_accel_name(enum vmm_accel accel);

/* The wrappers.  See the ops for what each does; these check state, add context and keep `state`.
 * A VMM that dies while one of them waits makes it fail with -EREMOTEIO and the VMM's last words.
 */
int vmm_spawn(const struct vmm_ops *ops, const struct vmm_probe *probe,
	      const struct vmm_config *config, struct loop *loop, int64_t deadline_ns,
	      struct vmm **ret, struct mvm_error *err);
int vmm_boot(struct vmm *v, int64_t deadline_ns, struct mvm_error *err);
int vmm_pause(struct vmm *v, int64_t deadline_ns, struct mvm_error *err);
int vmm_resume(struct vmm *v, int64_t deadline_ns, struct mvm_error *err);
int vmm_snapshot(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err);
int vmm_restore(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err);
/* -EADDRINUSE when the port cannot be bound. */
int vmm_forward(struct vmm *v, const struct vmm_forward *forward, int64_t deadline_ns,
		struct mvm_error *err);
int vmm_power_button(struct vmm *v, int64_t deadline_ns, struct mvm_error *err);
void vmm_on_ended(struct vmm *v, vmm_ended_fn fn, void *arg);
void vmm_free(struct vmm *v);
DEFINE_AUTO(vmm, vmm_free)

#endif
