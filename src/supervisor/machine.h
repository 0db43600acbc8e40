/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SUPERVISOR_MACHINE_H
#define SUPERVISOR_MACHINE_H

/*
 * A running guest: its VMM, its console and its agent, on one event loop.
 *
 * Calling sequence: machine_begin, machine_spawn, then machine_boot or machine_restore.  After
 * either call the guest is healthy and has its own identity.  machine_free kills a VMM that still
 * runs.  Waiting functions run the loop, so the loop's callbacks must not call them.  An error
 * carries the last console lines when they help to understand the guest.
 */

#include "model/template.h"

#include "codec/sha256.h"
#include "supervisor/agent_client.h"
#include "supervisor/console.h"
#include "supervisor/warden.h"
#include "vmm/vmm.h"

#define NONCE_BYTES 32u

/* A stage of a start, and when it ended, in nanoseconds since the start began. */
struct machine_stage {
	const char *name;
	int64_t ns;
};
#define MACHINE_STAGES_MAX 8u

struct machine {
	struct loop *loop; /* borrowed */
	struct warden_link *warden;
	struct vmm *vmm;
	struct agent_client agent;
	struct console console;
	struct logfile workload_log;
	bool no_agent; /* the guest boots its image's own initrd */
	bool ended;    /* the VMM has ended */
	int source_fd; /* tells how the pull of its files ends (source.c); -1: they are all here */
	int exit_status; /* wait status, valid once ended */
	char hostname[64];
	const struct strv *env; /* over the template's own; borrowed, may be NULL */
	char machine_id[33];
	/* Called when the guest has its identity, before its workload starts; NULL: the workload
	 * starts at once. */
	int (*before_workload)(void *arg, struct mvm_error *err);
	void *before_arg;
	void (*on_logged)(void *arg, size_t bytes); /* for both logs; may be NULL */
	void *logged_arg;
	bool held;	   /* the guest waits for before_workload */
	bool rehearses;	   /* it tests a snapshot */
	bool stop_at_boot; /* capture the guest before its workload starts */
	bool follows;	   /* a workload that ends before the guest is healthy does not fail the
			    * start: its VM ends with its status */
	bool ended_early;  /* that has happened */
	bool no_workload;  /* the guest starts none */
	int64_t began_ns;
	struct machine_stage stages[MACHINE_STAGES_MAX];
	size_t n_stages;
};

/* source.c: will the files that the VM runs from never be whole?  -EIO and why; else 0. */
int source_error(int source_fd, struct mvm_error *err);

/* Make *m a machine whose start begins now.  Both are borrowed. */
void machine_begin(struct machine *m, struct loop *loop, struct warden_link *warden);

/*
 * Have the warden start the VMM, and greet it.
 *
 *   rec  the instance's; its memory is noted there, its log_max_bytes is as in logfile_take()
 *
 * On failure machine_free must still be called.
 */
int machine_spawn(struct machine *m, const struct vmm_ops *ops, struct record *rec,
		  const struct mvm_template_revision *revision, int64_t deadline_ns,
		  struct mvm_error *err);

/* The second half of that: meet the VMM, with what warden_start() has given.  revision is unused
 * unless the VMM runs apart. */
int machine_meet(struct machine *m, const struct vmm_ops *ops, struct record *rec,
		 const struct mvm_template_revision *revision, struct warden_started *started,
		 int64_t deadline_ns, struct mvm_error *err);

/*
 * Boot the guest, give it its identity and workload, and wait until it is healthy.  With
 * stop_at_boot, only give it its identity.  A guest that boots its image's own initrd has no agent
 * to talk to: it is up when its CPUs run.
 *
 *   silent_ms  give up when the console has printed nothing for so long, and the agent has not
 *              greeted; the agent then has as much time to take its identity
 *   max_ms     give up when the agent has not greeted after so long, since machine_begin()
 */
int machine_boot(struct machine *m, const struct mvm_run *run, int64_t silent_ms, int64_t max_ms,
		 struct mvm_error *err);

/*
 * Load the snapshot, resume the guest and give it its own identity.  A workload
 * that starts in the clone must also become healthy, as after a boot.
 *
 *   ret_nonce  the agent has kept it in memory since the capture, so it proves that this guest
 *              comes from the snapshot
 */
int machine_restore(struct machine *m, const struct mvm_run *run, int64_t deadline_ns,
		    uint8_t ret_nonce[NONCE_BYTES], struct mvm_error *err);

/*
 * As machine_restore(), but rehearse the identity instead of giving one: the guest runs the whole
 * work of an identity once (CALL_REHEARSE).  Then pause it, with its processes still frozen.
 */
int machine_stand_by(struct machine *m, const struct mvm_run *run, int64_t deadline_ns,
		     uint8_t ret_nonce[NONCE_BYTES], struct mvm_error *err);

/*
 * Finish the restore of a machine that stands by: ports, resume, identity.  Stages count from
 * began_ns, which the caller sets.  forwards are as warden_adopt() gives them.  Under TCG this
 * takes about a tenth of a restore's time.
 */
int machine_awake(struct machine *m, const char *hostname, const struct mvm_run *run,
		  const struct vmm_forward *forwards, size_t n_forwards, int64_t deadline_ns,
		  uint8_t ret_nonce[NONCE_BYTES], struct mvm_error *err);

/*
 * Have the guest prepare, pause it, and write its device state.  It stays paused.
 *
 * From PREPARE on the supervisor sends nothing else to the agent, and the guest must never run
 * again, because its memory is the snapshot's file.  If its port took bytes after the device state
 * was written, the memory would count them and the device state would not.  QEMU refuses to load
 * such a pair ("VQ 4 size 0x400 < last_avail_idx 0x2 - used_idx 0x3").
 *
 *   ret_prepare_ns  how long the guest took to prepare
 */
int machine_capture(struct machine *m, int64_t deadline_ns, uint8_t ret_nonce[NONCE_BYTES],
		    int64_t *ret_prepare_ns, struct mvm_error *err);

/* Get the memory ready for the saved pages. */
int machine_map_memory(struct machine *m, int64_t deadline_ns, struct mvm_error *err);

/* Load the state, and let the guest run.  For the two below. */
int machine_load(struct machine *m, int64_t deadline_ns, struct mvm_error *err);
void machine_stage(struct machine *m, const char *name, int64_t at_ns);
int machine_take_nonce(const struct strbuf *reply, uint8_t ret[NONCE_BYTES], struct mvm_error *err);

/*
 * Freeze the guest, so that its state can be kept.  As for machine_capture(), but it goes on
 * afterwards, by machine_thaw().
 *
 *   syncs     the guest also writes everything to its disks: it may never go on
 *   ret_since_ns  since when its processes stand still
 *   was_away  the guest was suspended: give it entropy and the time, and reset its connections
 *
 * machine_continue() thaws a suspended guest that machine_load() has loaded.
 */
int machine_freeze(struct machine *m, bool syncs, int64_t deadline_ns,
		   char ret_nonce_sha256[DIGEST_HEX_SIZE], int64_t *ret_since_ns,
		   struct mvm_error *err);
int machine_thaw(struct machine *m, bool was_away, int64_t deadline_ns,
		 uint8_t ret_nonce[NONCE_BYTES], struct mvm_error *err);
int machine_continue(struct machine *m, int64_t deadline_ns, uint8_t ret_nonce[NONCE_BYTES],
		     struct mvm_error *err);

/* Ask the guest to power off, through its agent or else its power button.  Wait until the deadline,
 * then kill the VMM.  Never fails. */
void machine_shutdown(struct machine *m, int64_t deadline_ns);

/* Read the last output of an ended VMM and its guest, until both channels hang up.  The deadline
 * only matters when the VMM has left children that hold a channel open. */
void machine_drain(struct machine *m);

/*
 * Did the guest end on purpose?  Call this after machine_drain().
 *
 * It did if it powered off or reset itself in good order.  It did not if the VMM was killed,
 * failed, or was told by another process to end.  Nor did it if its kernel panicked, or did not
 * print that it restarts the machine (a triple fault).
 *
 * Returns 0, or -EREMOTEIO with the cause.
 */
int machine_check_end(const struct machine *m, struct mvm_error *err);

/* A step of the VMM has failed.  If SIGBUS killed the VMM meanwhile, add the cause, which only the
 * warden can find.  Returns r. */
int machine_explain_kill(const struct machine *m, int r, struct mvm_error *err);

void machine_free(struct machine *m);

/* Did the guest end because its kernel found no timer (net/agent.h)? */
bool machine_lacked_timer(const struct machine *m);

#endif
