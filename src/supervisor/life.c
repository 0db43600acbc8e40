/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/life.h"

#include <stdio.h>
#include <stdlib.h>

#include "supervisor/supervise.h"

#define TO(state)  (1u << LIFE_##state)
#define AS_BEFORE  (-1)
#define STARTS	   "the VM is still starting"
#define RESTARTS   "the VM is being started again"
#define RETURNS	   "the VM's volumes are being copied back, and then it ends"
#define IS_STOPPED "the VM is being stopped"

/* A guest can take these steps at any time: it powers off, or its VMM dies. */
#define ENDS (TO(EXITED) | TO(FAILED))

static const struct {
	const char *name;
	uint32_t next;	  /* legal steps */
	int record;	  /* enum record_state, or AS_BEFORE */
	const char *busy; /* why clients' calls for the guest are refused; NULL: they are not */
	bool guest, paused, ending;
} table[LIFE_STATES] = {
	[LIFE_STARTING] = { .name = "starting",
			    .next = TO(STANDBY) | TO(UP) | TO(SUSPENDED) | TO(STOPPED) | TO(FAILED),
			    .record = RECORD_STARTING,
			    .busy = STARTS },
	[LIFE_STANDBY] = { .name = "standby",
			   .next = TO(ADOPTING) | TO(STOPPING) | TO(KILLING) | ENDS,
			   .record = RECORD_PAUSED,
			   .guest = true,
			   .paused = true },
	[LIFE_ADOPTING] = { .name = "adopting",
			    .next = TO(UP) | TO(KILLING) | ENDS,
			    .record = RECORD_PAUSED,
			    .guest = true },
	[LIFE_UP] = { .name = "up",
		      .next = TO(PAUSING) | TO(SUSPENDING) | TO(FORKING) | TO(CAPTURING) |
			      TO(RETURNING) | TO(STOPPING) | TO(FOLLOWING) | TO(KILLING) | ENDS,
		      .record = RECORD_RUNNING,
		      .guest = true },
	[LIFE_PAUSING] = { .name = "pausing",
			   .next = TO(PAUSED) | TO(UP) | TO(KILLING) | ENDS,
			   .record = RECORD_RUNNING,
			   .guest = true },
	[LIFE_PAUSED] = { .name = "paused",
			  .next = TO(RESUMING) | TO(STOPPING) | TO(KILLING) | ENDS,
			  .record = RECORD_PAUSED,
			  .guest = true,
			  .paused = true },
	[LIFE_RESUMING] = { .name = "resuming",
			    .next = TO(UP) | TO(PAUSED) | TO(KILLING) | ENDS,
			    .record = RECORD_PAUSED,
			    .guest = true,
			    .paused = true },
	[LIFE_SUSPENDING] = { .name = "suspending",
			      .next = TO(SUSPENDED) | TO(UP) | TO(STOPPED) | TO(KILLING) | ENDS,
			      .record = RECORD_RUNNING,
			      .guest = true },
	[LIFE_FORKING] = { .name = "forking",
			   .next = TO(UP) | TO(KILLING) | ENDS,
			   .record = RECORD_RUNNING,
			   .guest = true },
	[LIFE_CAPTURING] = { .name = "capturing",
			     .next = TO(STOPPING) | TO(KILLING) | ENDS,
			     .record = RECORD_RUNNING,
			     .guest = true },
	[LIFE_RETURNING] = { .name = "returning volumes",
			     .next = TO(STOPPING) | TO(FOLLOWING) | TO(KILLING) | ENDS,
			     .record = RECORD_RUNNING,
			     .busy = RETURNS,
			     .guest = true,
			     .ending = true },
	[LIFE_STOPPING] = { .name = "stopping",
			    .next = TO(KILLING) | TO(STOPPED),
			    .record = AS_BEFORE,
			    .busy = IS_STOPPED,
			    .guest = true,
			    .ending = true },
	[LIFE_FOLLOWING] = { .name = "following its workload",
			     .next = TO(STOPPING) | TO(KILLING) | TO(FOLLOWED),
			     .record = AS_BEFORE,
			     .guest = true,
			     .ending = true },
	[LIFE_KILLING] = { .name = "being killed",
			   .next = TO(STOPPED),
			   .record = AS_BEFORE,
			   .busy = IS_STOPPED,
			   .guest = true,
			   .ending = true },
	[LIFE_STOPPED] = { .name = "stopped", .record = RECORD_EXITED },
	[LIFE_SUSPENDED] = { .name = "suspended", .record = RECORD_SUSPENDED },
	[LIFE_FOLLOWED] = { .name = "down with its workload",
			    .next = TO(WAITING),
			    .record = RECORD_EXITED },
	[LIFE_EXITED] = { .name = "exited", .next = TO(WAITING), .record = RECORD_EXITED },
	[LIFE_FAILED] = { .name = "failed",
			  .next = TO(WAITING) | TO(STOPPED),
			  .record = RECORD_FAILED },
	[LIFE_WAITING] = { .name = "waiting for its restart",
			   .next = TO(RESTARTING) | TO(STOPPED) | TO(FAILED),
			   .record = RECORD_STARTING,
			   .busy = RESTARTS },
	[LIFE_RESTARTING] = { .name = "restarting",
			      .next = TO(UP) | TO(STOPPED) | TO(FAILED),
			      .record = RECORD_STARTING,
			      .busy = RESTARTS },
};

const char *life_name(enum life_state state)
{
	return table[state].name;
}

bool life_may_step(enum life_state from, enum life_state to)
{
	return table[from].next >> to & 1;
}

bool life_has_guest(enum life_state state)
{
	return table[state].guest;
}

bool life_is_ending(const struct supervisor *s)
{
	bool down = s->state >= LIFE_STOPPED && s->state <= LIFE_FAILED;
	return !down && (s->end || table[s->state].ending);
}

/* The calls that clients may make. */
static void show_clients(struct supervisor *s)
{
	s->clients.busy = s->end ? IS_STOPPED : table[s->state].busy;
	s->clients.comes_back = s->state == LIFE_WAITING || s->state == LIFE_RESTARTING;
	s->clients.guest_paused = table[s->state].paused;
}

void life_begin(struct supervisor *s)
{
	s->state = LIFE_STARTING;
	s->end = LIFE_GOES_ON;
	show_clients(s);
}

static void refuse_step(struct supervisor *s, enum life_state to)
{
	fprintf(stderr, "mvm-supervisor: bug: no step leads from '%s' to '%s'\n",
		life_name(s->state), life_name(to));
	if (s->given->strict)
		abort();
	life_want_end(s, LIFE_ENDS_BROKEN);
	kill_vmm(s);
}

void life_enter(struct supervisor *s, enum life_state to)
{
	if (!life_may_step(s->state, to)) {
		refuse_step(s, to);
		return;
	}
	s->state = to;
	show_clients(s);
}

void life_leave(struct supervisor *s, enum life_state from, enum life_state to)
{
	if (s->state == from)
		life_enter(s, to);
}

void life_want_end(struct supervisor *s, enum life_end why)
{
	if (s->end == LIFE_GOES_ON)
		s->end = why;
	show_clients(s);
}

void life_note(struct supervisor *s)
{
	if (table[s->state].record != AS_BEFORE)
		s->record.state = (enum record_state)table[s->state].record;
	s->record.stopping = life_is_ending(s);
}
