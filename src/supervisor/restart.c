/* SPDX-License-Identifier: Apache-2.0 */
/* Starting a VM again that has ended. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>

#include "base/clock.h"
#include "instance/confine.h"
#include "supervisor/supervise.h"

/* Pauses between restarts: 1 s, doubled for each failure in a row up to a minute. */
#define RESTART_PAUSE_MS     INT64_C(1000)
#define RESTART_PAUSE_MAX_MS INT64_C(60000)
#define RESTART_FAILURES_MAX 10u
#define RESTART_STEADY_NS    (60 * NS_PER_S) /* ran so long: the failures before do not count */

/* Answer what can be answered while there is no guest, until it is time or we are to end. */
static int wait_for_restart(struct supervisor *s, int64_t pause_ms)
{
	s->restart_due = false;
	loop_source_arm(s->restart_timer, clock_deadline_ns(pause_ms));
	while (!s->restart_due && !s->stopping) {
		struct job *j = clients_next_job(&s->clients);
		if (j && j->call == CALL_STOP) {
			wait_for_end(s, j);
			s->stopping = true;
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

static int64_t restart_pause_ms(unsigned failures)
{
	int64_t pause_ms = RESTART_PAUSE_MS << (failures > 6 ? 6 : failures - 1);
	return pause_ms < RESTART_PAUSE_MAX_MS ? pause_ms : RESTART_PAUSE_MAX_MS;
}

/* The machine has ended, or could not be started: let go of it. */
void put_away(struct supervisor *s)
{
	s->started = false;
	workload_forget(s);
	healthwatch_stop(&s->health);
	clocksync_stop(&s->clock);
	machine_drain(&s->machine);
	clients_guest_gone(&s->clients);
	machine_free(&s->machine);
	s->machine.ended = true;
	s->record.vmm_pid = 0;
	s->record.health = RECORD_HEALTH_NONE;
	confine_end(s->record.cgroup);
	set_string(&s->record.cgroup, NULL);
	set_string(&s->record.cgroup_limits, NULL);
}

static bool is_wanted(const struct supervisor *s)
{
	const struct record *r = &s->record;
	if (s->stopped || s->stopping || r->restart == RECORD_RESTART_NO)
		return false;
	return r->restart != RECORD_RESTART_ON_FAILURE || !s->clean || r->exit_code != 0;
}

/* How often in a row. */
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
	if (s->clean && s->followed)
		(void)mvm_error_set(err, -EREMOTEIO, "its workload ended with %s%s%s",
				    s->workload_end, s->lost.code ? "; " : "",
				    s->lost.code ? s->lost.text : "");
	else if (s->clean)
		(void)mvm_error_set(err, -EREMOTEIO, "the guest ended by itself%s%s",
				    s->lost.code ? "; " : "", s->lost.code ? s->lost.text : "");
	if (clock_now_ns() - s->up_since_ns >= RESTART_STEADY_NS)
		s->failures = 0;
	s->clients.busy = "the VM is being started again";
	while (!s->stopping && s->failures < restarts_max(&s->record)) {
		s->failures++;
		int64_t pause_ms = restart_pause_ms(s->failures);
		char text[sizeof(err->text) + 64];
		(void)snprintf(text, sizeof(text), "%s; starting again in %lld s", err->text,
			       (long long)(pause_ms / 1000));
		set_string(&s->record.error, err->text);
		save_record(s, RECORD_STARTING);
		tell(s, "restarting", text);
		if (wait_for_restart(s, pause_ms) < 0 || s->stopping)
			break;
		s->record.restarts++;
		s->clients.guest_paused = false;
		int r = bring_up(s, err);
		if (r == 0) {
			clients_guest_back(&s->clients);
			s->clients.busy = NULL;
			note_start(s);
			save_record(s, RECORD_RUNNING);
			settle_in(s);
			return true;
		}
		s->clean = false;
		s->clients.busy = "the VM is being started again";
		put_away(s);
	}
	s->stopped = s->stopping;
	return false;
}
