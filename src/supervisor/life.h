/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SUPERVISOR_LIFE_H
#define SUPERVISOR_LIFE_H

/*
 * The supervisor's state: its work on the VM at this moment.
 *
 *	STARTING -------------------> UP <--> PAUSING, PAUSED, RESUMING
 *	   '--> STANDBY -> ADOPTING --'
 *	UP <--> FORKING
 *	UP --> SUSPENDING --> SUSPENDED                       its state stays in its folder
 *	UP --> (RETURNING) --> STOPPING --> STOPPED           it was asked to end
 *	UP --> (RETURNING) --> FOLLOWING -> FOLLOWED          its workload has ended
 *	UP --> EXITED, FAILED                                 by itself
 *	FOLLOWED, EXITED, FAILED --> WAITING -> RESTARTING -> UP
 *
 * Every step, which tests/check/test_states.py compares with the table:
 *
 *	STARTING	STANDBY UP SUSPENDED STOPPED FAILED
 *	STANDBY		ADOPTING STOPPING KILLING EXITED FAILED
 *	ADOPTING	UP KILLING EXITED FAILED
 *	UP PAUSING SUSPENDING FORKING CAPTURING RETURNING STOPPING FOLLOWING KILLING EXITED FAILED
 *	PAUSING		PAUSED UP KILLING EXITED FAILED
 *	PAUSED		RESUMING STOPPING KILLING EXITED FAILED
 *	RESUMING	UP PAUSED KILLING EXITED FAILED
 *	SUSPENDING	SUSPENDED UP STOPPED KILLING EXITED FAILED
 *	FORKING		UP KILLING EXITED FAILED
 *	CAPTURING	STOPPING KILLING EXITED FAILED
 *	RETURNING	STOPPING FOLLOWING KILLING EXITED FAILED
 *	STOPPING	KILLING STOPPED
 *	FOLLOWING	STOPPING KILLING FOLLOWED
 *	KILLING		STOPPED
 *	STOPPED
 *	SUSPENDED
 *	FOLLOWED	WAITING
 *	EXITED		WAITING
 *	FAILED		WAITING STOPPED
 *	WAITING		RESTARTING STOPPED FAILED
 *	RESTARTING	UP STOPPED FAILED
 *
 * A suspended VM whose resume fails before its guest runs is SUSPENDED still.
 *
 * EXITED: the guest powered off.  FAILED: the VMM died.  A VM that is STOPPING ends as STOPPED and
 * one that is FOLLOWING as FOLLOWED, however its guest goes down.  KILLING: a guest that has no
 * more time, an attached VM whose starter is gone, or a VM whose adoption failed.
 * tests/unit/test_supervisor_events.c has a table of all states and events.
 *
 * life_enter() alone changes the state, and it refuses every step that the table in life.c lacks.
 * What others see follows from the state: the state in instance.json, and the calls that clients
 * may make.
 *
 * Beside the state there is at most one reason to end the VM (enum life_end).  Callbacks set the
 * reason at any time and never wait.  The sequence under way finishes first, then the main loop
 * stops the guest.  So a `stop` that arrives during a pause finds the pause done.  Nobody takes the
 * reason back, and only the first one counts.
 *
 * To add a state: its name and its steps here, its line in the table, the
 * steps to it.
 */

#include <stdbool.h>
#include <stdint.h>

enum life_state {
	LIFE_STARTING,	 /* the guest is brought up for the first time */
	LIFE_STANDBY,	 /* restored and paused in a pool, without an identity */
	LIFE_ADOPTING,	 /* the VM of a pool becomes somebody's instance */
	LIFE_UP,	 /* the guest runs */
	LIFE_PAUSING,	 /* the VMM was asked to stop the virtual CPUs */
	LIFE_PAUSED,	 /* they stand still */
	LIFE_RESUMING,	 /* the VMM was asked to let them run on */
	LIFE_SUSPENDING, /* its state is kept; once it is, the guest never runs on here */
	LIFE_FORKING,	 /* a copy of its state is kept, for forks */
	LIFE_CAPTURING,	 /* a snapshot is or was made: the guest never runs again */
	LIFE_RETURNING,	 /* volumes are copied back, then the guest shuts down */
	LIFE_STOPPING,	 /* somebody wants the VM to end: the guest shuts down */
	LIFE_FOLLOWING,	 /* the workload has ended: the guest shuts down */
	LIFE_KILLING,	 /* the guest has no more time: the VMM gets SIGKILL */
	LIFE_STOPPED,	 /* down, because somebody wanted that */
	LIFE_SUSPENDED,	 /* down, and a resume continues it */
	LIFE_FOLLOWED,	 /* down, because its workload had ended */
	LIFE_EXITED,	 /* down, because the guest powered off */
	LIFE_FAILED,	 /* down: it did not start, its VMM died, or its kernel panicked */
	LIFE_WAITING,	 /* down; it is started again after a pause */
	LIFE_RESTARTING, /* the guest is brought up once more */
	LIFE_STATES,
};

/* Why the VM is to end. */
enum life_end {
	LIFE_GOES_ON,
	LIFE_ENDS_ASKED,     /* a `stop`, or a signal */
	LIFE_ENDS_EXPIRED,   /* its time to live is over, or nobody has used it for too long */
	LIFE_ENDS_UNLEASHED, /* its starter is gone */
	LIFE_ENDS_BROKEN,    /* a bug: an illegal step was refused */
};

struct supervisor;

const char *life_name(enum life_state state);

/* Is this a legal step? */
bool life_may_step(enum life_state from, enum life_state to);

/* Is there a guest that can shut down properly?  No, while it is brought up. */
bool life_has_guest(enum life_state state);

/* The state is LIFE_STARTING from now on. */
void life_begin(struct supervisor *s);

/*
 * Enter a state.
 *
 * An illegal step is a bug.  It aborts a supervisor that a test runs (supervisor_given.strict).
 * Any other supervisor says so in supervisor.log, keeps its state and ends the VM.
 */
void life_enter(struct supervisor *s, enum life_state to);

/* Go from one state to another.  Nothing changes when the state is no longer `from`, because the VM
 * was killed meanwhile. */
void life_leave(struct supervisor *s, enum life_state from, enum life_state to);

/* Note that the VM must end. */
void life_want_end(struct supervisor *s, enum life_end why);

/* Is the VM ending, or must it end? */
bool life_is_ending(const struct supervisor *s);

/* Put the state into the record. */
void life_note(struct supervisor *s);

#endif
