/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SUPERVISOR_MACHINE_H
#define SUPERVISOR_MACHINE_H

/*
 * A running guest: its VMM, its console and its agent, on one event loop.
 *
 * Calling sequence: machine_begin, machine_spawn, then machine_boot or machine_restore; after
 * either the guest is healthy and has an identity of its own.  machine_free kills what is left.
 * Waiting functions run the loop, so they may not be called from its callbacks.  Errors carry the
 * last console lines where these help to understand what the guest did.
 */

#include "model/template.h"

#include "supervisor/agent_client.h"
#include "supervisor/console.h"
#include "supervisor/ports6.h"
#include "vmm/oom.h"
#include "vmm/vmm.h"

#define NONCE_BYTES 32u

/* A stage of a start and when it was over, in nanoseconds since the start began. */
struct machine_stage {
	const char *name;
	int64_t ns;
};
#define MACHINE_STAGES_MAX 8u

struct machine {
	struct loop *loop; /* borrowed */
	struct vmm *vmm;
	struct agent_client agent;
	struct console console;
	struct logfile workload_log;
	bool no_agent;	 /* the guest boots its image's own initrd */
	bool ended;	 /* the VMM is gone */
	int exit_status; /* wait status, once ended */
	struct oom_watch oom;
	char hostname[64];
	struct ports6 ports;
	const struct strv *env; /* over the template's own; borrowed, may be NULL */
	char machine_id[33];
	/* Called when the guest has its identity and nothing of its workload runs yet; NULL: the
	 * workload runs at once. */
	int (*before_workload)(void *arg, struct mvm_error *err);
	void *before_arg;
	void (*on_logged)(void *arg, size_t bytes); /* for both logs; may be NULL */
	void *logged_arg;
	bool held;	   /* the guest waits for that */
	bool stop_at_boot; /* the guest is captured before its workload starts */
	int64_t began_ns;
	struct machine_stage stages[MACHINE_STAGES_MAX];
	size_t n_stages;
};

/* Make *m a machine whose start begins now. */
void machine_begin(struct machine *m, struct loop *loop);

/* A stage of the start, after those before, is over now. */
void machine_stage_over(struct machine *m, const char *name);

/*
 * Start the VMM.
 *
 *   config  as for vmm_spawn; agent_fd and console_fd are set here
 *   dir_fd  the instance's folder, for its logs; borrowed for the machine's life
 *   log_max_bytes  as in logfile_open()
 *
 * On failure machine_free must still be called.
 */
int machine_spawn(struct machine *m, const struct vmm_ops *ops, const struct vmm_probe *probe,
		  struct vmm_config *config, int dir_fd, uint64_t log_max_bytes,
		  int64_t deadline_ns, struct mvm_error *err);

/* The arguments of CALL_HEALTH for a check of the template's; the call itself does the attempts. */
void machine_put_health(const struct mvm_health *health, uint64_t interval_ms, uint64_t timeout_ms,
			struct strbuf *args);

/* Let the guest boot, give it its identity and workload, wait until it is healthy; with
 * stop_at_boot only give it its identity.  One that boots its image's own initrd can be told and
 * asked nothing: it is up when its CPUs run. */
int machine_boot(struct machine *m, const struct mvm_run *run, int64_t deadline_ns,
		 struct mvm_error *err);

/*
 * Load the snapshot in snapshot_fd, let the guest run and give it its own identity.  A workload
 * that starts in the clone has to become healthy, too, as after a boot.
 *
 *   ret_nonce  what the agent kept in memory since the capture: proof that this is the
 *              snapshot's guest and no other
 */
int machine_restore(struct machine *m, const struct mvm_run *run, int snapshot_fd,
		    int64_t deadline_ns, uint8_t ret_nonce[NONCE_BYTES], struct mvm_error *err);

/*
 * The same, but instead of an identity of its own the guest gets a rehearsal: everything that an
 * identity takes has been run once.  Then it is paused, its processes still frozen.
 */
int machine_stand_by(struct machine *m, const struct mvm_run *run, int snapshot_fd,
		     int64_t deadline_ns, uint8_t ret_nonce[NONCE_BYTES], struct mvm_error *err);

/*
 * The end of a restore for a machine that stands by: ports, resume, identity.  Stages count from
 * began_ns, which the caller sets.  Under TCG about a tenth of a restore's time.
 */
int machine_awake(struct machine *m, const char *hostname, const struct mvm_run *run,
		  const struct vmm_forward *forwards, size_t n_forwards, int64_t deadline_ns,
		  uint8_t ret_nonce[NONCE_BYTES], struct mvm_error *err);

/*
 * Have the guest prepare, pause it, write device state into snapshot_fd.  It stays paused.
 *
 * From PREPARE on nothing else is sent to the agent, and the guest must never run again: its memory
 * is the snapshot's file.  What its port takes once the device state is written is counted in the
 * one and not in the other, and QEMU refuses to load them ("VQ 4 size 0x400 < last_avail_idx 0x2 -
 * used_idx 0x3").
 *
 *   ret_prepare_ns  how long the guest took to prepare
 */
int machine_capture(struct machine *m, int snapshot_fd, int64_t deadline_ns,
		    uint8_t ret_nonce[NONCE_BYTES], int64_t *ret_prepare_ns, struct mvm_error *err);

/* Ask the guest to power off, by its agent or else by its power button, wait for that until the
 * deadline, then kill the VMM.  Never fails. */
void machine_shutdown(struct machine *m, int64_t deadline_ns);

/* Once the VMM has ended: take what it and the guest have said last.  Ends when they have hung up,
 * which they have; the deadline is for children that a VMM may have left. */
void machine_drain(struct machine *m);

/*
 * Once the VMM has ended and has been drained: did the guest mean to?
 *
 * It did when it powered off or reset itself in good order.  It did not when the VMM was killed,
 * failed or was told to end by somebody else, and when the guest's kernel panicked or did not say
 * on its console that it restarts the machine (a triple fault).
 *
 *   cgroup  of the VMM's own, which still exists; may be NULL
 *
 * Returns 0, or -EREMOTEIO with what happened.
 */
int machine_check_end(const struct machine *m, const char *cgroup, struct mvm_error *err);

void machine_free(struct machine *m);

/* Has it ended because its kernel found no timer (net/agent.h)? */
bool machine_lacked_timer(const struct machine *m);

#endif
