/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SUPERVISOR_SUPERVISE_H
#define SUPERVISOR_SUPERVISE_H

/* What the parts of mvm-supervisor share: supervisor.c runs an instance's life, bringup.c starts
 * its machine, fill.c copies its volumes into it and back, restart.c starts it again, jobs.c
 * answers calls, notes.c writes down what happens, standby.c makes a VM of a pool somebody's
 * instance, confine.c sets limits, life.c keeps the state. */

#include "model/template.h"

#include "base/loop.h"
#include "instance/handover.h"
#include "instance/record.h"
#include "supervisor/clients.h"
#include "supervisor/clocksync.h"
#include "supervisor/healthwatch.h"
#include "supervisor/life.h"
#include "supervisor/machine.h"

/* What a supervisor is handed: by main.c, or by a test, which has a backend of its own and no time
 * to wait. */
struct supervisor_given {
	int fd[SUPERVISOR_FD_END];     /* by enum supervisor_fd; taken over */
	const struct vmm_ops *backend; /* NULL: the backend that the record names */
	int64_t restart_pause_ms;      /* before the first restart */
	int64_t health_interval_min_ms;
	mode_t umask; /* the starter's, for files that come back */
	bool strict;  /* a bug in the steps of the state aborts */
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
	struct machine machine;
	struct clients clients;
	struct healthwatch health;
	struct clocksync clock;
	struct agent_later workload; /* CALL_AWAIT */
	char workload_end[64];	     /* "exit status 3"; "" while it runs */
	bool workload_untold;	     /* the VM has ended before its workload's end was told */
	struct loop_source *signal_source, *ttl_timer, *restart_timer, *kill_timer;
	struct mvm_error lost;		    /* volumes that did not come back; code 0: none */
	const struct record *fill_from;	    /* whose volumes the next start copies */
	int volume_fds[RECORD_VOLUMES_MAX]; /* locks of named ones, held to the end; 0: none */
	int signal_fd;
	unsigned failures;   /* and other ends, in a row: each makes the next pause longer */
	int64_t up_since_ns; /* of the last start */
	int64_t kill_ns;     /* when a stop that is under way is cut short; 0: it is not */
	struct job *waiting; /* STOP and WAIT calls, answered at the end */
};

#define STOP_DEFAULT_MS INT64_C(10000)

/* Spawn the VMM and bring the guest up as the record says.  After a failure machine_free. */
int bring_up(struct supervisor *s, struct mvm_error *err);

/* What a VM's network is held to: rec's rules and the template's name servers, borrowed. */
struct vmm_network network_rules(const struct supervisor *s, const struct record *rec);

/* The nonce lived only in the snapshot's RAM: whoever knows it was restored from there. */
int check_nonce(const struct supervisor *s, const uint8_t nonce[NONCE_BYTES],
		struct mvm_error *err);

/*
 * A VM of a pool becomes the instance that a call asks for: its folder gets that name, its guest an
 * identity, and the caller its leash.  Answers the call; what goes wrong ends the VM.
 */
void adopt(struct supervisor *s, const struct job *j);

/* The machine has ended, or could not be started: let go of it. */
void put_away(struct supervisor *s);

/*
 * Start the VM again as its record asks for it: after a failure, up to a number of them in a row,
 * or whenever it has ended by itself.
 *
 *   err  why it is down; afterwards why it stays down
 *
 * Returns whether it is up.
 */
bool restart(struct supervisor *s, struct mvm_error *err);

/* Before the workload of a machine that is about to start, copy the volumes that a record names
 * into it; the record must last until then. */
void fill_volumes_first(struct supervisor *s, const struct record *record);

/*
 * Before a guest that nobody else asks to stop is stopped, copy what shall come back, once.  Copies
 * of others end: two would write to one folder.  A guest that says nothing for half a minute is not
 * waited for, nor any beyond its record's volume_timeout_ms.  A stop meanwhile cuts the time short
 * by ending the VM.  What did not come back is in s->lost.
 */
void return_volumes(struct supervisor *s);

/*
 * The VM has ended: did it take with it what should have come back?
 *
 *   to   the state that it enters next
 *   err  why it failed, if it has; gets what is in s->lost too
 */
void note_lost_volumes(struct supervisor *s, enum life_state to, struct mvm_error *err);

/* Learn of the workload's end, if there is a workload. */
void workload_watch(struct supervisor *s);
void workload_forget(struct supervisor *s);

/* Has the workload ended, and shall the VM now? */
bool workload_wants_end(const struct supervisor *s);

/* Then end the VM: bring volumes back, tell who is in it, shut it down. */
void workload_follow(struct supervisor *s);

/*
 * The VM has ended as it should: with which status?
 *
 *   stopped  somebody wanted it to end
 *   killed   with SIGKILL
 */
void workload_note_end(struct supervisor *s, bool stopped, bool killed);

/* SIGKILL, if there is a VMM. */
void kill_vmm(struct supervisor *s);

/* A guest that is stopped has no more time: kill its VMM. */
void cut_off(struct supervisor *s);

/* Have the guest shut down; kill it when it has not by then. */
void stop_guest(struct supervisor *s, int64_t timeout_ms);

/* Let a paused guest run on, as the call does. */
int resume_guest(struct supervisor *s, struct mvm_error *err);

/* How long a call gives the guest to end. */
int64_t stop_timeout_ms(const struct job *j);

/* Do what a call asks for and answer it; takes it over.  Calls that wait for the end are kept. */
void run_job(struct supervisor *s, struct job *taken);
void wait_for_end(struct supervisor *s, struct job *j);
/* err: NULL when it is done. */
void answer(struct supervisor *s, const struct job *j, const struct mvm_error *err,
	    const struct strbuf *fields);

/* Replace a text of the record's; NULL empties it. */
void set_string(char **to, const char *text);

/* Save the record with the state.  It is for those who look: a full disk must not end the VM. */
void save_record(struct supervisor *s);

/* The VM is being ended: the record says so from now on. */
void note_stopping(struct supervisor *s);

/* Record an event. */
void tell(const struct supervisor *s, const char *event, const char *message);

/* From now on the time to live counts, if there is one. */
void limit_life(struct supervisor *s);

/* The guest is up: what the record says from now on.  settle_in() does what can wait until the
 * starter has its answer. */
void note_start(struct supervisor *s);
void settle_in(struct supervisor *s);

/* Now, or some time from now, as a text of the record's. */
void set_time(char **to, int64_t from_now_ms);

/* The VM is down for good.  err: why, in LIFE_FAILED. */
void note_end(struct supervisor *s, const struct mvm_error *err);

#endif
