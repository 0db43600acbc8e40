/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mvm-supervisor: owns one instance from its start to its end.
 *
 * It is started by whoever starts the instance, with everything it needs as open descriptors
 * (supervisor.h) and the rest in instance.json, so it looks nothing up by path.  It starts the VMM,
 * brings the guest up, answers on the leash, then serves control.sock until the VM has ended; a VMM
 * that dies is started again where the record asks for that.  Nothing here polls; everything
 * happens in one event loop.  Sequences that wait (a stop, a capture) run from the main loop as
 * jobs, one at a time, while the loop goes on serving streams.
 */
#include "instance/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/sock.h"
#include "instance/data_disk.h"
#include "instance/events.h"
#include "instance/supervise.h"
#include "model/load.h"
#include "net/wire.h"

#define CAPTURE_DEADLINE_MS INT64_C(120000)
#define STOP_DEFAULT_MS	    INT64_C(10000)
#define LAST_WORDS_MS	    1000

/* Pauses between restarts: 1 s, doubled for each failure in a row up to a minute. */
#define RESTART_PAUSE_MS     INT64_C(1000)
#define RESTART_PAUSE_MAX_MS INT64_C(60000)
#define RESTART_FAILURES_MAX 10u
#define RESTART_STEADY_NS    (60 * NS_PER_S) /* ran so long: the failures before do not count */

static void kill_vmm(struct supervisor *s)
{
	if (s->machine.vmm && s->machine.vmm->process.pid > 0)
		(void)kill(s->machine.vmm->process.pid, SIGKILL); /* ours and not reaped yet */
}

/* End soon: in order when the guest is up, at once when it is not. */
static void end_soon(struct supervisor *s)
{
	s->stopping = true;
	if (!s->started)
		kill_vmm(s);
}

static void on_leash_gone(void *arg)
{
	struct supervisor *s = arg;
	s->leash_gone = true;
	if (s->up_since_ns && !s->record.attached)
		return; /* it runs on its own now */
	s->stopping = true;
	kill_vmm(s);
}

static void on_signal(void *arg, uint32_t events)
{
	struct supervisor *s = arg;
	struct signalfd_siginfo info;
	(void)events;

	if (read(s->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		end_soon(s);
}

static void on_ttl(void *arg)
{
	struct supervisor *s = arg;
	s->expired = true;
	end_soon(s);
}

static void on_restart_due(void *arg)
{
	struct supervisor *s = arg;
	s->restart_due = true;
}

/* A stop must not wait for a start that is under way. */
static void on_job(void *arg, unsigned call)
{
	struct supervisor *s = arg;
	if (call == CALL_STOP && !s->started)
		end_soon(s);
}

static int watch_signals(struct supervisor *s)
{
	sigset_t set;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->signal_fd < 0)
		return -errno;
	return loop_add_fd(s->loop, s->signal_fd, EPOLLIN, on_signal, s, &s->signal_source);
}

static void set_string(char **to, const char *text)
{
	free(*to);
	*to = text ? strdup(text)
		   : NULL; /* without memory the record lacks a line, the VM lacks nothing */
}

static void set_time(char **to, int64_t from_now_ms)
{
	char text[RFC3339_SIZE];
	clock_format((clock_wall_ns() + from_now_ms * NS_PER_MS) / NS_PER_S, text);
	set_string(to, text);
}

/* The record is for those who look; a full disk must not end the VM. */
static void save_record(struct supervisor *s, enum record_state state)
{
	s->record.state = state;
	(void)record_save(SUPERVISOR_FD_INSTANCE, &s->record, NULL);
}

static void tell(const struct supervisor *s, const char *event, const char *message)
{
	events_add(SUPERVISOR_FD_LOGS, event, &s->record, message);
}

static void on_health(void *arg, enum record_health health, const char *message)
{
	struct supervisor *s = arg;
	s->record.health = health;
	set_string(&s->record.health_message, message);
	save_record(s, s->record.state);
	tell(s, record_health_name(health), message);
}

static void note_start(struct supervisor *s)
{
	struct record *rec = &s->record;
	rec->n_stages = 0;
	set_string(&rec->error, NULL);
	set_string(&rec->hostname, s->machine.hostname);
	set_string(&rec->machine_id, s->machine.machine_id);
	set_time(&rec->started_at, 0);
	for (size_t i = 0; i < s->machine.n_stages && rec->n_stages < RECORD_STAGES_MAX; i++) {
		struct record_stage *to = &rec->stages[rec->n_stages++];
		(void)snprintf(to->name, sizeof(to->name), "%s", s->machine.stages[i].name);
		to->ns = s->machine.stages[i].ns;
	}
	/* a boot has waited for the check; a clone has shown that its agent is well */
	rec->health = !rec->restore || s->revision.run.health.kind == MVM_HEALTH_AGENT
			      ? RECORD_HEALTH_HEALTHY
			      : RECORD_HEALTH_STARTING;
	s->up_since_ns = clock_now_ns();
	s->started = true;
}

/* What can wait until the starter has its answer. */
static void settle_in(struct supervisor *s)
{
	struct record *rec = &s->record;
	char text[64];

	if (rec->purpose != RECORD_FOR_USER)
		return;
	(void)snprintf(text, sizeof(text), "%s in %.0f ms", rec->restore ? "restored" : "booted",
		       rec->n_stages ? (double)rec->stages[rec->n_stages - 1].ns / NS_PER_MS : 0.0);
	tell(s, "started", text);
	if (rec->health == RECORD_HEALTH_HEALTHY)
		tell(s, "healthy", NULL);
	/* without memory for a timer health just stays as the start has shown it */
	(void)healthwatch_start(&s->health, s->loop, &s->revision.run.health, &s->machine.agent,
				rec->health, on_health, s);
	(void)clocksync_start(&s->clock, s->loop, &s->machine.agent); /* likewise */
	confine(rec);
	if (rec->cgroup)
		save_record(s, rec->state);
}

static int listen_for_clients(struct supervisor *s, struct mvm_error *err)
{
	int fd = sock_listen_at(SUPERVISOR_FD_INSTANCE, "control.sock");
	int r = fd < 0 ? fd : clients_listen(&s->clients, fd);
	return r < 0 ? mvm_error_set(err, r, "cannot listen on control.sock: %s", strerror(-r)) : 0;
}

static int start(struct supervisor *s, struct mvm_error *err)
{
	int r = bring_up(s, err);
	if (r == 0)
		r = listen_for_clients(s, err);
	if (r == 0 && s->leash_gone)
		r = mvm_error_set(err, -ECANCELED, "the start was interrupted");
	return r;
}

static void answer_start(struct supervisor *s, int status, const char *message)
{
	AUTO_DONE(strbuf) fields = { 0 };
	AUTO_FREE char *json = record_to_json(&s->record);
	wire_put_str(&fields, FIELD_JSON, json);
	clients_reply(&s->clients, s->clients.leash_id, LEASH_START_STREAM, status, message,
		      &fields);
}

static void answer(struct supervisor *s, const struct job *j, int code, const struct mvm_error *err,
		   const struct strbuf *fields)
{
	clients_reply(&s->clients, j->client_id, j->stream, -code, code < 0 ? err->text : NULL,
		      fields);
}

static void stop_guest(struct supervisor *s, int64_t timeout_ms)
{
	s->stopped = true;
	healthwatch_stop(&s->health);
	clocksync_stop(&s->clock);
	machine_shutdown(&s->machine, clock_deadline_ns(timeout_ms));
	if (!s->machine.ended)
		kill_vmm(s);
}

static void wait_for_end(struct supervisor *s, struct job *j)
{
	j->next = s->waiting;
	s->waiting = j;
}

static int do_capture(struct supervisor *s, struct strbuf *fields, struct mvm_error *err)
{
	uint8_t nonce[NONCE_BYTES];
	if (s->record.purpose != RECORD_FOR_CAPTURE)
		return mvm_error_set(err, -EOPNOTSUPP, "this VM was not started to be captured");
	int r = machine_capture(&s->machine, SUPERVISOR_FD_CAPTURE,
				clock_deadline_ns(CAPTURE_DEADLINE_MS), nonce, err);
	if (r == 0 && s->revision.data_disk_mib) /* paused: of the same moment as memory */
		r = data_disk_capture(SUPERVISOR_FD_INSTANCE, SUPERVISOR_FD_CAPTURE, err);
	if (r == 0)
		wire_put_bytes(fields, FIELD_NONCE, nonce, sizeof(nonce));
	return r;
}

static int do_pause(struct supervisor *s, bool pause, struct mvm_error *err)
{
	int64_t deadline_ns = clock_deadline_ns(STOP_DEFAULT_MS);
	if (s->machine.ended)
		return mvm_error_set(err, -ESRCH, "the VM is about to be started again");
	int r = pause ? vmm_pause(s->machine.vmm, deadline_ns, err)
		      : vmm_resume(s->machine.vmm, deadline_ns, err);
	if (r < 0)
		return r;
	s->clients.guest_paused = pause;
	if (pause) {
		healthwatch_pause(&s->health);
		clocksync_stop(&s->clock);
	} else {
		healthwatch_resume(&s->health);
		/* without memory for it the clock just stays behind */
		(void)clocksync_start(&s->clock, s->loop, &s->machine.agent);
	}
	save_record(s, pause ? RECORD_PAUSED : RECORD_RUNNING);
	tell(s, pause ? "paused" : "resumed", NULL);
	return 0;
}

static int64_t timeout_of(const struct job *j)
{
	struct wire_field field;
	uint64_t ms;
	if (wire_find(j->args.data, j->args.len, FIELD_TIMEOUT_MS, &field) > 0 &&
	    wire_get_u64(&field, &ms) == 0 && ms <= 3600000)
		return (int64_t)ms;
	return STOP_DEFAULT_MS;
}

static void run_job(struct supervisor *s, struct job *taken)
{
	AUTO(job) j = taken;
	AUTO_DONE(strbuf) fields = { 0 };
	struct mvm_error err = { 0 };
	int r = 0;

	switch (j->call) {
	case CALL_INSPECT: {
		AUTO_FREE char *json = record_to_json(&s->record);
		wire_put_str(&fields, FIELD_JSON, json);
		break;
	}
	case CALL_PAUSE:
	case CALL_RESUME:
		r = do_pause(s, j->call == CALL_PAUSE, &err);
		break;
	case CALL_CAPTURE:
		r = do_capture(s, &fields, &err);
		break;
	case CALL_STOP: {
		int64_t timeout_ms = timeout_of(j);
		wait_for_end(s, TAKE_PTR(j));
		s->stopping = s->stopped = true;
		stop_guest(s, timeout_ms);
		return;
	}
	default: /* CALL_WAIT: the queue takes no other */
		wait_for_end(s, TAKE_PTR(j));
		return;
	}
	answer(s, j, r, &err, &fields);
}

/* Until the VM has ended. */
static int serve(struct supervisor *s)
{
	while (!s->machine.ended) {
		struct job *j = clients_next_job(&s->clients);
		if (j) {
			run_job(s, j);
			continue;
		}
		if (s->stopping && !s->stopped) {
			stop_guest(s, STOP_DEFAULT_MS);
			continue;
		}
		int r = loop_run_once(s->loop, DEADLINE_NONE);
		if (r < 0)
			return r;
	}
	return 0;
}

static bool ended_cleanly(const struct supervisor *s)
{
	int status = s->machine.exit_status;
	return s->stopped || (WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void describe_end(const struct supervisor *s, struct mvm_error *ret)
{
	int status = s->machine.exit_status;
	if (WIFSIGNALED(status))
		(void)mvm_error_set(ret, -EREMOTEIO, "the VMM was killed by signal %d",
				    WTERMSIG(status));
	else
		(void)mvm_error_set(ret, -EREMOTEIO, "the VMM ended with status %d",
				    WEXITSTATUS(status));
}

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
static void put_away(struct supervisor *s)
{
	s->started = false;
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

/*
 * Start the VM again after its VMM has died, as often as it takes.
 *
 *   err  why it is down; afterwards why it stays down
 *
 * Returns whether it is up.
 */
static bool restart(struct supervisor *s, struct mvm_error *err)
{
	if (clock_now_ns() - s->up_since_ns >= RESTART_STEADY_NS)
		s->failures = 0;
	while (!s->stopping && ++s->failures <= RESTART_FAILURES_MAX) {
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
		if (bring_up(s, err) == 0) {
			s->clients.guest_gone = false;
			note_start(s);
			save_record(s, RECORD_RUNNING);
			settle_in(s);
			return true;
		}
		put_away(s);
	}
	s->stopped = s->stopping;
	return false;
}

/* The VM is down for good. */
static void note_end(struct supervisor *s, bool clean, const struct mvm_error *err)
{
	set_time(&s->record.ended_at, 0);
	set_string(&s->record.error, clean ? NULL : err->text);
	save_record(s, clean ? RECORD_EXITED : RECORD_FAILED);
	if (!clean)
		tell(s, "failed", err->text);
	else if (s->stopped)
		tell(s, "stopped", s->expired ? "its time to live is over" : NULL);
	else
		tell(s, "exited", NULL);
}

/* Tell everybody who waits, and let them take their last bytes. */
static void say_goodbye(struct supervisor *s)
{
	clients_guest_gone(&s->clients);
	for (struct job *j; (j = clients_next_job(&s->clients));)
		wait_for_end(s, j);
	while (s->waiting) {
		AUTO(job) j = s->waiting;
		s->waiting = j->next;
		answer(s, j, 0, NULL, NULL);
	}
	int64_t deadline_ns = clock_deadline_ns(LAST_WORDS_MS);
	while (clients_want_write(&s->clients) && loop_run_once(s->loop, deadline_ns) == 0)
		;
}

/* What leaves nothing behind, whatever became of the one who started it. */
static void remove_instance(const struct supervisor *s)
{
	AUTO_CLOSE int parent_fd = openat(SUPERVISOR_FD_INSTANCE, "..",
					  O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (parent_fd >= 0 && tree_remove_at(parent_fd, s->record.name) == 0)
		tell(s, "removed", NULL); /* else `rm` takes what stays */
}

static void give_up_start(struct supervisor *s, int r, const struct mvm_error *err)
{
	set_string(&s->record.error, err->text);
	machine_free(&s->machine);
	s->record.vmm_pid = 0;
	save_record(s, RECORD_FAILED);
	if (s->leash_gone)
		remove_instance(s); /* the starter would have done it */
	answer_start(s, -r, err->text);
	say_goodbye(s);
}

static int run(struct supervisor *s)
{
	struct mvm_error err = { 0 };
	bool clean = false;
	int r = start(s, &err);
	if (r < 0) {
		give_up_start(s, r, &err);
		return 1;
	}
	note_start(s);
	save_record(s, RECORD_RUNNING);
	answer_start(s, 0, NULL);
	settle_in(s);
	do {
		r = serve(s);
		machine_shutdown(&s->machine, 0);
		clean = ended_cleanly(s);
		describe_end(s, &err);
		put_away(s);
	} while (r == 0 && !clean && s->record.restart_on_failure && restart(s, &err));
	note_end(s, clean || s->stopped, &err);
	(void)unlinkat(SUPERVISOR_FD_INSTANCE, "control.sock", 0);
	if (s->record.attached || s->record.remove_at_end)
		remove_instance(s);
	say_goodbye(s);
	return r < 0;
}

static int start_timers(struct supervisor *s)
{
	int64_t ttl_ns = DEADLINE_NONE;
	if (s->record.ttl_ms > 0) {
		ttl_ns = clock_deadline_ns(s->record.ttl_ms);
		set_time(&s->record.expires_at, s->record.ttl_ms);
	}
	int r = loop_add_timer(s->loop, ttl_ns, on_ttl, s, &s->ttl_timer);
	return r < 0 ? r
		     : loop_add_timer(s->loop, DEADLINE_NONE, on_restart_due, s, &s->restart_timer);
}

static int prepare(struct supervisor *s, struct mvm_error *err)
{
	/* inherited, so not close-on-exec yet; the VMM gets none of them unless it is named */
	for (int fd = SUPERVISOR_FD_FIRST; fd < SUPERVISOR_FD_END; fd++) {
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
			return mvm_error_set(err, -errno, "descriptor %d is missing", fd);
	}
	int r = loop_new(&s->loop);
	if (r == 0)
		r = clients_init(&s->clients, s->loop, &s->machine.agent);
	if (r < 0)
		return mvm_error_set(err, r, "cannot start: %s", strerror(-r));
	s->clients.on_leash_gone = on_leash_gone;
	s->clients.on_job = on_job;
	s->clients.arg = s;
	r = watch_signals(s);
	if (r == 0)
		r = clients_add_leash(&s->clients, SUPERVISOR_FD_LEASH);
	if (r < 0)
		return mvm_error_set(err, r, "cannot start: %s", strerror(-r));
	r = record_load(SUPERVISOR_FD_INSTANCE, &s->record, err);
	if (r < 0)
		return r;
	s->record.supervisor_pid = getpid();
	r = start_timers(s);
	if (r < 0)
		return mvm_error_set(err, r, "cannot start: %s", strerror(-r));
	return revision_load_at(SUPERVISOR_FD_REVISION, &s->revision, err);
}

int main(void)
{
	struct supervisor s = { .signal_fd = -1 };
	struct mvm_error err = { 0 };

	(void)umask(077);
	int r = prepare(&s, &err);
	if (r < 0) {
		(void)fprintf(stderr, "mvm-supervisor: %s\n", err.text);
		if (s.clients.leash_id)
			answer_start(&s, -r, err.text);
	}
	int status = r < 0 ? 1 : run(&s);

	clients_done(&s.clients);
	loop_source_free(s.signal_source);
	loop_source_free(s.ttl_timer);
	loop_source_free(s.restart_timer);
	if (s.signal_fd >= 0)
		(void)close(s.signal_fd);
	mvm_template_revision_done(&s.revision);
	record_done(&s.record);
	loop_free(s.loop);
	return status;
}
