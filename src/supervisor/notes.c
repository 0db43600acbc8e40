/* SPDX-License-Identifier: Apache-2.0 */
/* The record and the events that a supervisor writes about its instance. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "model/run.h"
#include "supervisor/supervise.h"

#define DISK_ERRORS_NS (60 * NS_PER_S) /* between events */
#define CLOCK_FIRST_MS 1000	       /* after a clone's first command, as a rule */

#define KEEP_MS                                                                                    \
	INT64_C(100) /* for a starter to let go; a client of the library may take its time */

void set_string(char **to, const char *text)
{
	free(*to);
	*to = text ? strdup(text)
		   : NULL; /* out of memory: the record lacks a line, the VM runs on */
}

void set_time(char **to, int64_t from_now_ms)
{
	char text[RFC3339_SIZE];
	int64_t ms = clock_wall_ns() / NS_PER_MS;
	ms = from_now_ms > INT64_MAX - ms ? INT64_MAX : ms + from_now_ms;
	clock_format(ms / 1000, text);
	set_string(to, text);
}

void save_record(struct supervisor *s)
{
	life_note(s);
	warden_save(&s->warden, &s->record);
}

void note_stopping(struct supervisor *s)
{
	if (!s->record.stopping)
		save_record(s);
}

void tell(struct supervisor *s, const char *event, const char *message)
{
	warden_tell(&s->warden, event, message);
}

static void on_health(void *arg, enum record_health health, const char *message)
{
	struct supervisor *s = arg;
	s->record.health = health;
	set_string(&s->record.health_message, message);
	save_record(s);
	tell(s, record_health_name(health), message);
}

static const char *disk_named(const struct record *rec, size_t drive)
{
	for (size_t i = 0, place = 1; i < OWN_DISKS; i++) /* 0 is the image */
		if (rec->disks[i].present && place++ == drive)
			return own_disks[i].what;
	return "image of the root";
}

void on_disk_error(void *arg, const struct vmm_disk_error *error)
{
	struct supervisor *s = arg;
	char text[256];
	int64_t now_ns = clock_now_ns();
	/* a guest that goes on writing fails thousands of times */
	if (s->disk_error_ns && now_ns - s->disk_error_ns < DISK_ERRORS_NS)
		return;
	s->disk_error_ns = now_ns;
	const char *disk = disk_named(&s->record, error->drive);
	if (error->write && error->no_room)
		snprintf(text, sizeof(text),
			 "this host has no room for what the guest writes to the %s, so its write "
			 "failed: make room, then start the VM again",
			 disk);
	else
		snprintf(text, sizeof(text),
			 "this host cannot %s the %s, so the guest got an I/O error: see this "
			 "host's kernel log",
			 error->write ? "write" : "read", disk);
	set_string(&s->record.disk_problem, text);
	tell(s, "disk-error", text);
	if (s->state != LIFE_STARTING) /* then the start saves it */
		save_record(s);
}

void note_start(struct supervisor *s)
{
	struct record *rec = &s->record;
	rec->n_stages = 0;
	set_string(&rec->error, NULL);
	/* a guest without an agent did not get its hostname */
	set_string(&rec->hostname, rec->no_agent ? NULL : s->machine.hostname);
	if (rec->no_agent || s->machine.machine_id[0]) /* else it has gone on, as it was */
		set_string(&rec->machine_id, rec->no_agent ? NULL : s->machine.machine_id);
	set_time(&rec->started_at, 0);
	for (size_t i = 0; i < s->machine.n_stages && rec->n_stages < RECORD_STAGES_MAX; i++) {
		struct record_stage *to = &rec->stages[rec->n_stages++];
		snprintf(to->name, sizeof(to->name), "%s", s->machine.stages[i].name);
		to->ns = s->machine.stages[i].ns;
	}
	/* a start that starts a workload has waited for the health check; any other clone has only
	 * shown that its agent works */
	bool checked = !rec->restore || run_starts_in_clone(&s->revision.run) ||
		       s->revision.run.health.kind == MVM_HEALTH_AGENT;
	if (rec->no_agent)
		rec->health = RECORD_HEALTH_NONE;
	else
		rec->health = checked && !s->machine.ended_early ? RECORD_HEALTH_HEALTHY
								 : RECORD_HEALTH_STARTING;
	rec->workload_ended = rec->has_exit_code = false;
	s->workload_end[0] = '\0';
	s->lost.code = 0;
	s->up_since_ns = clock_now_ns();
}

/* Start to watch health, clock and workload.  Without memory for their timers, health stays as the
 * start found it, and the clock as the start set it. */
static void watch_guest(struct supervisor *s)
{
	if (!s->machine.ended_early)
		healthwatch_start(&s->health, s->loop, &s->revision.run.health, &s->machine.agent,
				  &s->host, s->record.health, s->given->health_interval_min_ms,
				  on_health, s);
	clocksync_start(&s->clock, s->loop, &s->machine.agent, CLOCK_FIRST_MS);
	workload_watch(s);
}

/* A detached starter has its answer and lets go of the instance at once.  Until then it would wait
 * for all that we do. */
static void let_starter_go(struct supervisor *s)
{
	int64_t deadline_ns = clock_deadline_ns(KEEP_MS);
	while (s->record.held && clients_has_leash(&s->clients) && !s->clients.jobs)
		if (loop_run_once(s->loop, deadline_ns) != 0)
			return;
	if (s->clients.jobs && s->clients.jobs->call == CALL_KEEP)
		run_job(s, clients_next_job(&s->clients));
}

void settle_in(struct supervisor *s)
{
	struct record *rec = &s->record;
	char text[96];

	if (rec->purpose != RECORD_FOR_USER)
		return;
	let_starter_go(s);
	const char *how = rec->restore ? "restored" : "booted";
	snprintf(text, sizeof(text), "%s in %.0f ms%s", rec->no_agent ? "started" : how,
		 rec->n_stages ? (double)rec->stages[rec->n_stages - 1].ns / NS_PER_MS : 0.0,
		 rec->no_agent ? "; it has no agent to answer" : "");
	tell(s, "started", text);
	if (rec->volumes_note)
		tell(s, "volumes", rec->volumes_note);
	if (rec->health == RECORD_HEALTH_HEALTHY)
		tell(s, "healthy", NULL);
	if (!rec->no_agent && !s->machine.ended) /* it may end before its starter lets go */
		watch_guest(s);
	warden_confine(&s->warden, rec);
	if (rec->cgroup)
		save_record(s);
}

void note_end(struct supervisor *s, const struct mvm_error *err)
{
	bool failed = s->state == LIFE_FAILED;
	char text[sizeof(s->workload_end) + 32];
	snprintf(text, sizeof(text), "its workload ended with %s", s->workload_end);
	bool suspended = s->state == LIFE_SUSPENDED;
	if (suspended)
		set_string(&s->record.expires_at, NULL);
	else
		set_time(&s->record.ended_at, 0);
	const char *lost = s->lost.code ? s->lost.text : NULL;
	s->record.volumes_lost = lost;
	const char *over = s->over[0] ? s->over : NULL;
	set_string(&s->record.error, failed || (suspended && err->code) ? err->text : lost);
	save_record(s);
	if (suspended)
		tell(s, "suspended", err->code ? err->text : over);
	else if (failed)
		tell(s, "failed", err->text);
	else if (s->state == LIFE_STOPPED)
		tell(s, "stopped", lost ? lost : over);
	else if (s->state == LIFE_FOLLOWED)
		tell(s, "exited", lost ? lost : text);
	else
		tell(s, "exited", lost);
}
