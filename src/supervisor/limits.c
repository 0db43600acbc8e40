/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM's time to live, and the time that nobody may use it.
 *
 * In use is a VM in whose guest clients run commands or copy files, and one whose forwarded ports
 * carry data.  What its guest does by itself, health checks and whoever looks at the logs do not
 * count.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "net/wire.h"
#include "supervisor/supervise.h"

/* After so many refusals to freeze, a limit stops the guest.  They take five minutes, since a disk
 * may be busy.  A guest that does not even answer takes fifteen. */
#define UNFROZEN_TRIES 30u

/* So often a suspend is tried that fails for the host's sake, such as a full disk.  The pauses
 * double, up to eleven minutes: these tries take three quarters of an hour. */
#define FAILED_TRIES 10u
#define DOUBLINGS    6u

static void begin_ttl(struct supervisor *s)
{
	struct record *rec = &s->record;
	bool ends = rec->ttl_ms > 0;
	loop_source_arm(s->ttl_timer, ends ? clock_deadline_ns(rec->ttl_ms) : DEADLINE_NONE);
	if (ends)
		set_time(&rec->expires_at, rec->ttl_ms);
	else
		set_string(&rec->expires_at, NULL);
}

void limit_life(struct supervisor *s)
{
	struct record *rec = &s->record;
	s->wants_suspend = s->suspend_failed = false;
	s->unfrozen_tries = s->failed_tries = 0;
	set_string(&rec->suspend_problem, NULL);
	s->over[0] = '\0';
	s->over_timer = NULL;
	s->used_ns = clock_now_ns();
	if (rec->on_idle_ms > 0)
		loop_source_arm(s->idle_timer, clock_deadline_ns(rec->on_idle_ms));
	begin_ttl(s);
}

/* Its time to live is not over after all, nor the suspend that this has asked for. */
static void take_end_back(struct supervisor *s)
{
	if (s->over_timer != s->ttl_timer)
		return;
	s->wants_suspend = s->suspend_failed = false;
	s->unfrozen_tries = s->failed_tries = 0;
	set_string(&s->record.suspend_problem, NULL);
	s->over[0] = '\0';
	s->over_timer = NULL;
	if (s->record.on_idle_ms > 0) /* it may have been over as well */
		loop_source_arm(s->idle_timer, clock_now_ns());
}

int set_ttl(struct supervisor *s, const struct job *j, struct mvm_error *err)
{
	uint64_t ttl_ms = 0;
	char text[64];
	if (s->record.purpose != RECORD_FOR_USER)
		return mvm_error_set(err, -EBUSY, "this VM is nobody's instance yet");
	if (s->end)
		return mvm_error_set(err, -EBUSY, "the VM is being stopped");
	if (!wire_find_u64(j->args.data, j->args.len, FIELD_TIMEOUT_MS, TTL_MAX_MS, &ttl_ms))
		return mvm_error_set(err, -EPROTO, "a call without its fields");
	take_end_back(s);
	s->record.ttl_ms = (int64_t)ttl_ms;
	begin_ttl(s);
	save_record(s);
	snprintf(text, sizeof(text), ttl_ms ? "%.0f s from now on" : "no end",
		 (double)ttl_ms / 1000);
	tell(s, "ttl", text);
	return 0;
}

static void be_over(struct supervisor *s, struct loop_source *timer, enum record_then action)
{
	/* if both are over, the time to live is tried again: it does not wait for idleness */
	if (s->over_timer != s->ttl_timer)
		s->over_timer = timer;
	if (action == RECORD_THEN_SUSPEND)
		s->wants_suspend = true; /* the main loop does it */
	else
		end_soon(s, LIFE_ENDS_EXPIRED);
}

void on_ttl(void *arg)
{
	struct supervisor *s = arg;
	snprintf(s->over, sizeof(s->over), "its time to live is over");
	be_over(s, s->ttl_timer, s->record.ttl_action);
}

void on_idle(void *arg)
{
	struct supervisor *s = arg;
	int64_t idle_ns = s->record.on_idle_ms * NS_PER_MS, now_ns = clock_now_ns();
	int64_t used_ns = s->used_ns > s->clients.used_ns ? s->used_ns : s->clients.used_ns;
	if (s->clients.n_used > 0 || !life_has_guest(s->state))
		used_ns = now_ns;
	if (now_ns - used_ns < idle_ns) {
		loop_source_arm(s->idle_timer, used_ns + idle_ns);
		return;
	}
	snprintf(s->over, sizeof(s->over), "nobody has used it for %.0f s",
		 (double)s->record.on_idle_ms / 1000);
	be_over(s, s->idle_timer, s->record.on_idle_action);
}

static void say_not_suspended(struct supervisor *s, const char *what, const struct mvm_error *why)
{
	char text[sizeof(s->over) + 256];
	snprintf(text, sizeof(text), "%s, but %s: %.200s", s->over, what, why->text);
	tell(s, "not-suspended", text);
}

/* in_use: that is no problem. */
static void try_again(struct supervisor *s, bool in_use, const struct mvm_error *why)
{
	unsigned n = s->failed_tries > 0 ? s->failed_tries - 1 : 0;
	int64_t pause_ms = s->given->suspend_again_ms;
	if (in_use ? !s->suspend_failed : !s->record.suspend_problem)
		say_not_suspended(s, "it cannot be suspended yet", why);
	s->suspend_failed = true;
	if (!in_use) {
		set_string(&s->record.suspend_problem, why->text);
		save_record(s);
		pause_ms <<= n < DOUBLINGS ? n : DOUBLINGS;
	}
	if (!s->wants_suspend)	   /* of another limit, which was reached meanwhile */
		s->over[0] = '\0'; /* it may be in use again by then */
	loop_source_arm(s->over_timer, clock_deadline_ns(pause_ms));
}

/* The host has no room, which is not its guest's fault: what is in its memory would be lost. */
static void let_run_on(struct supervisor *s, const struct mvm_error *why)
{
	say_not_suspended(s, "it cannot be suspended and runs on", why);
	s->over[0] = '\0';
}

/* It cannot be suspended, and its user does not want it to run on. */
static void end_instead(struct supervisor *s, const struct mvm_error *why)
{
	size_t len = strlen(s->over);
	snprintf(s->over + len, sizeof(s->over) - len, "; it could not be suspended: %.100s",
		 why->text);
	end_soon(s, LIFE_ENDS_EXPIRED);
}

void suspend_expired(struct supervisor *s)
{
	struct mvm_error err = { 0 };
	bool paused = s->state == LIFE_PAUSED;
	s->wants_suspend = s->unfrozen = false;
	int r = paused ? check_may_suspend(s, true, &err) : 0;
	if (r == 0 && paused)
		r = resume_guest(s, &err);
	if (r == 0)
		r = suspend_now(s, 0, &err);
	bool unfrozen = s->unfrozen || str_eq(err.reason, "vm-silent");
	bool in_use = r == -EBUSY && !unfrozen;
	s->unfrozen_tries += unfrozen;
	s->failed_tries += r < 0 && !unfrozen && !in_use;
	bool again = r != -EOPNOTSUPP && s->unfrozen_tries < UNFROZEN_TRIES &&
		     s->failed_tries < FAILED_TRIES;
	if (r < 0 && again && paused && s->state == LIFE_UP && !s->end && !s->machine.ended)
		pause_guest(s, NULL); /* if that fails it runs, as its record and an event say */
	if (r == 0 || s->machine.ended)
		return;
	if (again)
		try_again(s, in_use, &err);
	else if (r == -ENOSPC || r == -EDQUOT)
		let_run_on(s, &err);
	else
		end_instead(s, &err);
}
