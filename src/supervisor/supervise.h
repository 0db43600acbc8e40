/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SUPERVISOR_SUPERVISE_H
#define SUPERVISOR_SUPERVISE_H

/* The state and functions that the parts of mvm-supervisor share.  supervisor.c runs an instance's
 * life, bringup.c starts its machine, fill.c copies its volumes in and back, restart.c starts it
 * again, saving.c suspends and forks it, limits.c ends or suspends it when its time is over, jobs.c
 * answers calls, notes.c writes the record and events, standby.c turns a VM of a pool into an
 * instance, workload.c follows the workload, network.c its network, life.c keeps the
 * state. */

#include "model/template.h"

#include "base/loop.h"
#include "instance/handover.h"
#include "instance/record.h"
#include "supervisor/clients.h"
#include "supervisor/clocksync.h"
#include "supervisor/healthwatch.h"
#include "supervisor/life.h"
#include "supervisor/machine.h"

/* A supervisor gets this from main.c, or from a test that has its own backend and short pauses. */
struct supervisor_given {
	int fd[SUPERVISOR_FD_END];     /* by enum supervisor_fd; taken over */
	const struct vmm_ops *backend; /* NULL: the backend that the record names */
	/* A boot ends, without the agent's greeting, when the console has been silent for boot_ms,
	 * and after boot_max_ms. */
	int64_t boot_ms, boot_max_ms;
	int64_t restart_pause_ms; /* before the first restart */
	int64_t freeze_ms;	  /* for the answer to FREEZE or THAW */
	int64_t suspend_again_ms; /* until the next try of a suspend by a limit */
	int64_t health_interval_min_ms;
	mode_t umask; /* the starter's, for files that are copied back */
	bool apart;   /* what reads the guest's words is shut in, in a process of its own */
	bool strict;  /* abort on an illegal step of the state */
};

/* Own one instance from its start to its end.  Returns the program's exit status. */
int supervise(const struct supervisor_given *given);

struct supervisor {
	const struct supervisor_given *given;
	enum life_state state; /* life_enter() changes it */
	enum life_end end;     /* life_want_end() sets it */
	struct loop *loop;
	struct record record;
	struct mvm_template_revision revision;
	struct warden_link warden;
	struct machine machine;
	struct clients clients;
	struct hostload_files host;
	struct healthwatch health;
	struct clocksync clock;
	struct agent_later workload; /* CALL_AWAIT */
	char workload_end[64];	     /* "exit status 3"; "" while it runs */
	bool workload_untold;	     /* the VM ended before the agent reported its workload's end */
	int source_fd;		     /* of source.c; -1: the revision is whole */
	struct loop_source *source_source;
	struct loop_source *signal_source, *ttl_timer, *idle_timer, *restart_timer, *kill_timer;
	int64_t used_ns;		/* when somebody last used a forwarded port */
	struct loop_source *over_timer; /* of the time that is over; borrowed */
	bool wants_suspend;		/* one of its times is over, and it is to be suspended */
	bool suspend_failed;		/* and an event has told why it is not yet */
	bool unfrozen;			/* the guest did not freeze for the last suspend */
	unsigned unfrozen_tries, failed_tries; /* of limits, since the start */
	char over[160];			       /* which time that is; "": none */
	struct mvm_error lost;		       /* volumes that were not copied back; code 0: none */
	const struct record *fill_from;	       /* the next start copies this record's volumes */
	int signal_fd;
	unsigned failures; /* failures and other ends in a row; each makes the next pause longer */
	int64_t up_since_ns;	   /* of the last start */
	int64_t kill_ns;	   /* when to cut a running stop short; 0: never */
	int64_t disk_error_ns;	   /* the last event about one; 0: none */
	int64_t refusals_since_ns; /* refusal_events were written since then */
	unsigned refusal_events;
	struct job *waiting;   /* STOP and WAIT calls, answered at the end */
	bool suspended;	       /* the VM's state is kept in its folder: it must not run on */
	bool taken;	       /* it was, and its guest has the only copy now */
	struct forked *forked; /* states that are kept for clients */
};

#define STOP_DEFAULT_MS INT64_C(10000)

/* Spawn the VMM and bring the guest up as the record says.  After a failure, machine_free() it. */
int bring_up(struct supervisor *s, struct mvm_error *err);

/* The rules that a VM's network obeys: rec's rules and the template's name servers, borrowed. */
struct vmm_network network_rules(const struct mvm_template_revision *revision,
				 const struct record *rec);

/* The VM of a record and its revision, without descriptors and forwards.  It borrows from both. */
struct vmm_config vmm_description(const struct record *rec,
				  const struct mvm_template_revision *revision);

/* Where the guest's memory of such an instance is. */
enum vmm_memory memory_of(const struct record *rec);

/* Check a restored guest's nonce.  It was only in the snapshot's memory, so a guest that knows it
 * was restored from there. */
int check_nonce(const struct supervisor *s, const uint8_t nonce[NONCE_BYTES],
		struct mvm_error *err);

/*
 * Turn a VM of a pool into the instance that a call asks for.  The folder gets that name, the guest
 * an identity, and the caller the leash.  This answers the call; a failure ends the VM.
 */
void adopt(struct supervisor *s, const struct job *j);

/* Release a machine that has ended or could not be started. */
void put_away(struct supervisor *s);

/*
 * Start the VM again if its record asks for it: after a failure, up to a number of failures in a
 * row, or whenever the VM ended by itself.
 *
 *   err  why it is down; afterwards why it stays down
 *
 * Returns whether the VM is up.
 */
bool restart(struct supervisor *s, struct mvm_error *err);

/* Copy a record's volumes into the machine that is about to start, before its workload starts.  The
 * record must live until then. */
void fill_volumes_first(struct supervisor *s, const struct record *record);

/*
 * Copy the write_back volumes back, once, before this supervisor stops the guest by itself.  Copies
 * of clients end, because two copies would write to one folder.  A guest that is silent for half a
 * minute loses its turn, and so does any guest after its record's volume_timeout_ms.  A `stop`
 * meanwhile cuts the copy short by ending the VM.  s->lost describes volumes that were not copied.
 */
void return_volumes(struct supervisor *s);

/*
 * Note which volumes an ended VM should have copied back but did not.
 *
 *   to   the VM's next state
 *   err  why the VM failed, if it did; the text of s->lost is added
 */
void note_lost_volumes(struct supervisor *s, enum life_state to, struct mvm_error *err);

/* Ask the agent to report the workload's end, if there is a workload. */
/* Does this instance end with its workload, whenever that ends? */
bool workload_is_followed(const struct supervisor *s, const struct record *r);
void workload_watch(struct supervisor *s);
/* A VM without a workload is as one whose template names none: its health is its agent's. */
void workload_leave_out(struct mvm_run *run);
void workload_forget(struct supervisor *s);

/* Has the workload ended, and must the VM end with it? */
bool workload_wants_end(const struct supervisor *s);

/* End the VM after its workload: copy volumes back, tell its clients, shut it down. */
void workload_follow(struct supervisor *s);

/*
 * Record the status of a VM that ended as it should.
 *
 *   stopped  a call, signal or limit ended it
 *   killed   SIGKILL ended it
 */
void workload_note_end(struct supervisor *s, bool stopped, bool killed);

/* Give the VM other rules for its network, as CALL_NETWORK does, and record them. */
int set_network(struct supervisor *s, const struct job *j, struct mvm_error *err);

/*
 * Read and check rules as CALL_NETWORK has them.
 *
 *   have  whose rules "add" keeps
 *   ret   its rules alone are set
 */
int network_read_rules(const char *text, size_t len, const struct record *have, struct record *ret,
		       struct mvm_error *err);
void network_exchange_rules(struct record *a, struct record *b);

/* One of its disks fails (vmm_on_disk()); arg is the struct supervisor. */
void on_disk_error(void *arg, const struct vmm_disk_error *error);

/* What its network tells (vmm_on_network()); arg is the struct supervisor. */
void on_network(void *arg, const struct vmm_network_news *news);

/* End the VM soon: shut the guest down if it is up, else kill the VMM at once. */
void end_soon(struct supervisor *s, enum life_end why);

/* Send the VMM SIGKILL, if there is one. */
void kill_vmm(struct supervisor *s);

/* source.c: watch the pull of a revision that is not whole yet.  If it fails, the VM is killed, and
 * machine_check_end() tells why.  source_find() comes before the process is shut in. */
void source_find(struct supervisor *s);
int source_watch(struct supervisor *s);
/* 0, or -EIO: it has failed. */
int source_check(const struct supervisor *s, struct mvm_error *err);

/* Kill the VMM of a guest that did not stop in time. */
void cut_off(struct supervisor *s);

/* Shut the guest down; kill it if it still runs after the timeout. */
void stop_guest(struct supervisor *s, int64_t timeout_ms);

/* As CALL_PAUSE and CALL_RESUME do. */
int pause_guest(struct supervisor *s, struct mvm_error *err);
int resume_guest(struct supervisor *s, struct mvm_error *err);

/* CALL_SUSPEND and CALL_FORK.  suspend() takes the job over.  After suspend_now() the VMM is to
 * end.  suspend_now() gives up if the client hangs up before the disks are read. */
int suspend_now(struct supervisor *s, uint64_t client_id, struct mvm_error *err);
/* May it be suspended?  paused: once it is resumed. */
int check_may_suspend(const struct supervisor *s, bool paused, struct mvm_error *err);
void suspend(struct supervisor *s, struct job *taken);
void fork_guest(struct supervisor *s, const struct job *j);
/* Remove the states that were kept for clients that have hung up; all: for every client. */
void forget_forked(struct supervisor *s, bool all);
/* Bring up a machine, spawned, that continues what its record says. */
int continue_guest(struct supervisor *s, int64_t deadline_ns, struct mvm_error *err);

/* The time that a STOP call gives the guest to end. */
int64_t stop_timeout_ms(const struct job *j);

/* Do a call and answer it; takes it over.  Calls that wait for the VM's end are kept until then. */
void run_job(struct supervisor *s, struct job *taken);
void wait_for_end(struct supervisor *s, struct job *j);
/* err: NULL when it is done. */
void answer(struct supervisor *s, const struct job *j, const struct mvm_error *err,
	    const struct strbuf *fields);

/* Replace a text of the record; NULL removes it. */
void set_string(char **to, const char *text);

/* Save the record with the state.  A full disk must not end the VM, so a failure is dropped: the
 * record only informs readers. */
void save_record(struct supervisor *s);

/* Record that the VM is being ended. */
void note_stopping(struct supervisor *s);

/* Record an event. */
void tell(struct supervisor *s, const char *event, const char *message);

/* Start the clocks of the time to live and of the time without use, as far as there are such. */
void limit_life(struct supervisor *s);
/* Give the VM another time to live, as CALL_TTL does. */
int set_ttl(struct supervisor *s, const struct job *j, struct mvm_error *err);
void on_ttl(void *arg);
void on_idle(void *arg);
/* Suspend a VM whose time is over.  One that cannot be suspended yet is asked again later. */
void suspend_expired(struct supervisor *s);

/* Record that the guest is up.  settle_in() does the work that can wait until the starter has its
 * answer. */
void note_start(struct supervisor *s);
void settle_in(struct supervisor *s);

/* Set a time of the record: from_now_ms from now. */
void set_time(char **to, int64_t from_now_ms);

/* Record that the VM is down for good.  err: why, in LIFE_FAILED. */
void note_end(struct supervisor *s, const struct mvm_error *err);

#endif
