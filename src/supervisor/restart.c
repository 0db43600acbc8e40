/* SPDX-License-Identifier: Apache-2.0 */
/* Starts a VM again after it has ended. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>

#include "base/clock.h"
#include "supervisor/supervise.h"

/* Pauses between restarts: supervisor_given.restart_pause_ms, doubled for each failure in a row up
 * to a minute. */
#define RESTART_PAUSE_MAX_MS INT64_C(60000)
#define RESTART_FAILURES_MAX 10u
#define RESTART_STEADY_NS    (60 * NS_PER_S) /* a run of this length resets the count of failures */

/* Wait for the next start, or until the VM must end, and answer calls that need no guest. */
static int wait_for_restart(struct supervisor *s, int64_t pause_ms)
{
	loop_source_arm(s->restart_timer, clock_deadline_ns(pause_ms));
	while (s->state == LIFE_WAITING && !s->end) {
		struct job *j = clients_next_job(&s->clients);
		if (j && j->call == CALL_STOP) {
			wait_for_end(s, j); /* on_job() has set the reason */
		} else if (j) {
			run_job(s, j);
		} else {
			int r = loop_run_once(s->loop, DEADLINE_NONE);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int64_t restart_pause_ms(const struct supervisor *s)
{
	int64_t pause_ms = s->given->restart_pause_ms << (s->failures > 6 ? 6 : s->failures - 1);
	return pause_ms < RESTART_PAUSE_MAX_MS ? pause_ms : RESTART_PAUSE_MAX_MS;
}

void put_away(struct supervisor *s)
{
	workload_forget(s);
	healthwatch_stop(&s->health);
	clocksync_stop(&s->clock);
	machine_drain(&s->machine);
	clients_guest_gone(&s->clients);
	machine_free(&s->machine);
	s->machine.ended = true;
	s->record.vmm_pid = 0;
	s->record.health = RECORD_HEALTH_NONE;
	warden_put_away(&s->warden);
	set_string(&s->record.isolation, NULL);
	set_string(&s->record.cgroup, NULL);
	set_string(&s->record.cgroup_limits, NULL);
}

static bool is_wanted(const struct supervisor *s)
{
	const struct record *r = &s->record;
	if (s->state == LIFE_STOPPED || s->state == LIFE_SUSPENDED || s->end ||
	    r->restart == RECORD_RESTART_NO)
		return false;
	return r->restart != RECORD_RESTART_ON_FAILURE || s->state == LIFE_FAILED ||
	       r->exit_code != 0;
}

/* How many restarts in a row the record allows. */
static unsigned restarts_max(const struct record *r)
{
	if (r->restart != RECORD_RESTART_ON_FAILURE)
		return UINT_MAX;
	return r->restart_max ? r->restart_max : RESTART_FAILURES_MAX;
}

bool restart(struct supervisor *s, struct mvm_error *err)
{
	if (!is_wanted(s))
		return false;
	if (s->state == LIFE_FOLLOWED)
		mvm_error_set(err, -EREMOTEIO, "its workload ended with %s%s%s", s->workload_end,
			      s->lost.code ? "; " : "", s->lost.code ? s->lost.text : "");
	else if (s->state == LIFE_EXITED)
		mvm_error_set(err, -EREMOTEIO, "the guest ended by itself%s%s",
			      s->lost.code ? "; " : "", s->lost.code ? s->lost.text : "");
	if (clock_now_ns() - s->up_since_ns >= RESTART_STEADY_NS)
		s->failures = 0;
	while (!s->end && s->failures < restarts_max(&s->record)) {
		s->failures++;
		int64_t pause_ms = restart_pause_ms(s);
		char text[sizeof(err->text) + 64];
		snprintf(text, sizeof(text), "%s; starting again in %lld s", err->text,
			 (long long)(pause_ms / 1000));
		set_string(&s->record.error, err->text);
		life_enter(s, LIFE_WAITING);
		save_record(s);
		tell(s, "restarting", text);
		if (wait_for_restart(s, pause_ms) < 0 || s->end)
			break;
		s->record.restarts++;
		record_boot_next(&s->record);
		int r = bring_up(s, err);
		if (r == 0) {
			clients_guest_back(&s->clients);
			note_start(s);
			life_enter(s, LIFE_UP);
			save_record(s);
			settle_in(s);
			return true;
		}
		put_away(s);
		life_enter(s, LIFE_FAILED);
	}
	if (s->end)
		life_enter(s, LIFE_STOPPED);
	else
		life_leave(s, LIFE_WAITING, LIFE_FAILED); /* the event loop has failed */
	return false;
}
