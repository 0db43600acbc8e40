/* SPDX-License-Identifier: Apache-2.0 */
/*
 * supervise(): owns one instance from its start to its end.
 *
 * The starter hands it open descriptors (instance/handover.h) and instance.json, so it looks up
 * nothing by path.  It starts the VMM, brings the guest up, answers on the leash, then serves
 * control.sock until the VM has ended.  It starts a VMM that died again, if the record asks for it.
 * It never polls; everything happens in one event loop.  Sequences that wait (a stop, a capture)
 * run from the main loop as jobs, one at a time, while the loop goes on serving streams.
 */
#include "instance/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/lock.h"
#include "base/rlimit.h"
#include "instance/events.h"
#include "instance/folder.h"
#include "instance/instance.h"
#include "model/load.h"
#include "model/run.h"
#include "net/wire.h"
#include "supervisor/shut_in.h"
#include "supervisor/supervise.h"

#define LAST_WORDS_MS 1000
#define STARTER_MS    10000

void end_soon(struct supervisor *s, enum life_end why)
{
	life_want_end(s, why);
	note_stopping(s);
	if (!life_has_guest(s->state))
		kill_vmm(s);
}

static void on_leash_gone(void *arg)
{
	struct supervisor *s = arg;
	if (s->up_since_ns && !s->record.attached && !s->record.held)
		return; /* the instance outlives its starter now */
	if (s->taken)
		return; /* what was suspended would be lost with it */
	life_want_end(s, LIFE_ENDS_UNLEASHED);
	if (life_has_guest(s->state))
		cut_off(s); /* it gets no time, and that is no failure of its */
	else
		kill_vmm(s);
}

/* Give a stop that is under way no more than this time. */
static void cut_stop_short(struct supervisor *s, int64_t timeout_ms)
{
	int64_t deadline_ns = clock_deadline_ns(timeout_ms);
	if (s->kill_ns && s->kill_ns <= deadline_ns)
		return;
	s->kill_ns = deadline_ns;
	loop_source_arm(s->kill_timer, deadline_ns);
}

static void on_signal(void *arg, uint32_t events)
{
	struct supervisor *s = arg;
	struct signalfd_siginfo info;
	(void)events;

	if (read(s->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return;
	bool again = life_is_ending(s);
	end_soon(s, LIFE_ENDS_ASKED);
	if (again && life_has_guest(s->state))
		cut_stop_short(s, STOP_DEFAULT_MS);
}

static void on_kill_due(void *arg)
{
	struct supervisor *s = arg;
	if (life_has_guest(s->state))
		cut_off(s);
}

static void on_restart_due(void *arg)
{
	struct supervisor *s = arg;
	life_leave(s, LIFE_WAITING, LIFE_RESTARTING);
}

/* The starter has told the user the instance's name.  From now on the instance outlives its
 * starter, and its record says so. */
static void keep(struct supervisor *s)
{
	s->record.held = false;
	save_record(s);
}

/* A call has arrived.  A stop must not wait for a start that is under way, for another call, or for
 * a stop with a longer timeout. */
static void on_job(void *arg, const struct job *j)
{
	struct supervisor *s = arg;
	if (j->call == CALL_KEEP && j->client_id == s->clients.leash_id)
		keep(s); /* at once, also during another job */
	if (j->call != CALL_STOP)
		return;
	end_soon(s, LIFE_ENDS_ASKED);
	if (life_has_guest(s->state))
		cut_stop_short(s, stop_timeout_ms(j));
}

static int block_signals(struct supervisor *s)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return s->signal_fd < 0 ? -errno : 0;
}

/* After the fork: epoll(7) tells of the signals of the process that adds a signalfd. */
static int watch_signals(struct supervisor *s, struct mvm_error *err)
{
	int r = loop_add_fd(s->loop, s->signal_fd, EPOLLIN, on_signal, s, &s->signal_source);
	if (r == 0)
		r = source_watch(s);
	return r < 0 ? mvm_error_set(err, r, "cannot start: %s", strerror(-r)) : 0;
}

static int start(struct supervisor *s, struct mvm_error *err)
{
	/* before the start, so that a client can stop it */
	int r = clients_listen(&s->clients, s->given->fd[SUPERVISOR_FD_LISTEN]);
	if (r < 0)
		return mvm_error_set(err, r, "cannot listen on " INSTANCE_SOCKET_NAME ": %s",
				     strerror(-r));
	r = bring_up(s, err);
	if (!clients_has_leash(&s->clients) && !s->taken)
		return mvm_error_cancelled(err, "the start");
	if (s->end)
		return mvm_error_set(err, -ECANCELED, "it was stopped before it was up");
	return r;
}

/* err: NULL when it is up. */
static void answer_start(struct supervisor *s, const struct mvm_error *err)
{
	AUTO_DONE(strbuf) fields = { 0 };
	AUTO_FREE char *json = record_to_json(&s->record);
	wire_put_str(&fields, FIELD_JSON, json);
	clients_reply(&s->clients, s->clients.leash_id, LEASH_START_STREAM, err, &fields);
}

/* Serve until the VM has ended. */
static int serve(struct supervisor *s)
{
	while (!s->machine.ended && !s->suspended) {
		if (s->clients.some_left && s->forked)
			forget_forked(s, false);
		s->clients.some_left = false;
		struct job *j = clients_next_job(&s->clients);
		if (j) {
			run_job(s, j);
			continue;
		}
		if (s->end && life_may_step(s->state, LIFE_STOPPING)) {
			/* no client copies them back here; nobody wants those of an attached VM
			 * that has lost its starter */
			if (!((s->record.attached || s->record.held) &&
			      !clients_has_leash(&s->clients)))
				return_volumes(s);
			stop_guest(s, STOP_DEFAULT_MS);
			continue;
		}
		if (workload_wants_end(s)) {
			workload_follow(s);
			continue;
		}
		if (s->wants_suspend && (s->state == LIFE_UP || s->state == LIFE_PAUSED)) {
			suspend_expired(s);
			continue;
		}
		int r = loop_run_once(s->loop, DEADLINE_NONE);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Answer a STOP or WAIT after the VM has ended.  A STOP learns which volumes were not copied back,
 * unless it gave the guest no time. */
static void answer_end(struct supervisor *s, const struct job *j)
{
	AUTO_DONE(strbuf) status = { 0 };
	if (s->record.state == RECORD_EXITED)
		wire_put_u64(&status, FIELD_EXIT_CODE, s->record.exit_code);
	struct mvm_error lost = s->lost;
	lost.code = -EIO;
	bool tell = s->lost.code && j->call == CALL_STOP && stop_timeout_ms(j) > 0;
	answer(s, j, tell ? &lost : NULL, &status);
}

/* Answer all waiting clients, and let them read their last bytes. */
static void say_goodbye(struct supervisor *s)
{
	clients_guest_gone(&s->clients);
	for (struct job *next; (next = clients_next_job(&s->clients));) {
		AUTO(job) j = next;
		struct mvm_error err = { 0 };
		if (j->call == CALL_WAIT || j->call == CALL_STOP) {
			answer_end(s, j);
			continue;
		}
		bool suspended = s->state == LIFE_SUSPENDED;
		int r = suspended ? mvm_error_set(&err, -EBUSY, "it is suspended already")
				  : mvm_error_set(&err, -ESRCH, "the VM has ended");
		mvm_error_reason(&err, r, suspended ? "instance-suspended" : "instance-ended",
				 s->record.name);
		answer(s, j, &err, NULL);
	}
	while (s->waiting) {
		AUTO(job) j = s->waiting;
		s->waiting = j->next;
		answer_end(s, j);
	}
	int64_t deadline_ns = clock_deadline_ns(LAST_WORDS_MS);
	while (clients_want_write(&s->clients) && loop_run_once(s->loop, deadline_ns) == 0)
		;
}

/*
 * Wait for the starter, however soon the VM has ended: an attached VM's starter shows the last
 * output and reads the record; another's has not told the name yet, and may be killed before it
 * does.  The starter is done when it makes any call but WAIT, or hangs up.  One that has not told
 * the name may also STOP, and then hang up.
 */
static void await_starter(struct supervisor *s)
{
	int64_t deadline_ns = clock_deadline_ns(STARTER_MS);
	say_goodbye(s);
	clients_keep_leash(&s->clients);
	while (clients_has_leash(&s->clients)) {
		const struct job *next = s->clients.jobs;
		if (next && next->call != CALL_WAIT && !(next->call == CALL_STOP && s->record.held))
			return;
		AUTO(job) j = clients_next_job(&s->clients);
		if (j)
			answer_end(s, j);
		else if (loop_run_once(s->loop, deadline_ns) != 0)
			return;
	}
}

/* Does the starter wait for its STOP? */
static bool starter_stops(const struct supervisor *s)
{
	const struct job *const lists[] = { s->waiting, s->clients.jobs };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(lists); i++) {
		for (const struct job *j = lists[i]; j; j = j->next) {
			if (j->call == CALL_STOP && j->client_id == s->clients.leash_id)
				return true;
		}
	}
	return false;
}

/* Is the starter gone before it told the user the name? */
static bool is_unclaimed(const struct supervisor *s)
{
	return s->record.held && !clients_has_leash(&s->clients);
}

/* Before clients learn of the end, free the revision.  A suspended VM holds it by its record. */
static void end_record(struct supervisor *s, const struct mvm_error *err)
{
	if (s->state != LIFE_SUSPENDED)
		warden_release(&s->warden);
	note_end(s, err);
	if (s->state == LIFE_SUSPENDED)
		warden_release(&s->warden);
}

/* End a start that failed, lost its starter or was stopped.  An instance that is kept, is kept for
 * its logs.  One that started again is not held, because its user knows it already. */
static void give_up_start(struct supervisor *s, const struct mvm_error *err)
{
	loop_run_once(s->loop, 0); /* a start that fails at once has not seen its starter go */
	bool keep = !is_unclaimed(s) && !record_removes_itself(&s->record);
	/* its guest has not run; only a stop discards what it would have continued */
	bool suspended = s->suspended && s->end != LIFE_ENDS_ASKED;
	if (s->suspended && !suspended)
		warden_use_saved(&s->warden, USE_DISCARD, NULL);
	keep |= suspended;
	put_away(s);
	enum life_state without_state = s->end ? LIFE_STOPPED : LIFE_FAILED;
	life_enter(s, suspended ? LIFE_SUSPENDED : without_state);
	end_record(s, err);
	warden_stop_listening(&s->warden);
	if (!keep)
		warden_remove(&s->warden);
	answer_start(s, err);
	if (keep && s->record.held) {
		await_starter(s);
		if (is_unclaimed(s))
			warden_remove(&s->warden);
	}
	say_goodbye(s);
}

/* The state of a suspended VM is kept, so its VMM can go.  A stop that has come meanwhile discards
 * it again. */
static void go_away(struct supervisor *s)
{
	clients_say_goodbye(&s->clients, "the VM has been suspended");
	put_away(s);
	if (s->end)
		warden_use_saved(&s->warden, USE_DISCARD, NULL);
	s->suspended = !s->end;
	if (s->end)
		workload_note_end(s, true, true);
	life_enter(s, s->end ? LIFE_STOPPED : LIFE_SUSPENDED);
}

/* End for good: the VM has ended, or the event loop has failed.  err: why, in LIFE_FAILED. */
static void go_down(struct supervisor *s, struct mvm_error *err)
{
	enum life_state to = LIFE_FAILED;
	forget_forked(s, true);
	if (s->suspended) {
		go_away(s);
		return;
	}
	machine_shutdown(&s->machine, 0);
	machine_drain(&s->machine);
	bool orderly = machine_check_end(&s->machine, err) == 0;
	put_away(s);
	if (s->state == LIFE_STOPPING || s->state == LIFE_KILLING)
		to = LIFE_STOPPED;
	else if (s->state == LIFE_FOLLOWING)
		to = LIFE_FOLLOWED;
	else if (orderly)
		to = LIFE_EXITED;
	if (to != LIFE_FAILED)
		workload_note_end(s, to == LIFE_STOPPED, s->state == LIFE_KILLING);
	note_lost_volumes(s, to, err);
	life_enter(s, to);
}

static int run(struct supervisor *s)
{
	struct mvm_error err = { 0 };
	s->suspended = s->record.continues == RECORD_CONTINUES_SUSPENDED;
	int r = start(s, &err);
	if (r < 0) {
		give_up_start(s, &err);
		return 1;
	}
	limit_life(s);
	note_start(s);
	life_enter(s, s->record.purpose == RECORD_FOR_POOL ? LIFE_STANDBY : LIFE_UP);
	save_record(s);
	answer_start(s, NULL);
	settle_in(s);
	do {
		r = serve(s);
		go_down(s, &err);
	} while (r == 0 && restart(s, &err));
	end_record(s, &err);
	warden_stop_listening(&s->warden);
	/* The starter of an attached VM that has said STOP learns of the removal, not of the end
	 * alone: where it is process 1 of a container, we die with it. */
	if ((s->record.held || (s->record.attached && !starter_stops(s))) &&
	    s->record.purpose == RECORD_FOR_USER)
		await_starter(s);
	if (s->state != LIFE_SUSPENDED && (record_removes_itself(&s->record) || is_unclaimed(s)))
		warden_remove(&s->warden);
	say_goodbye(s);
	return r < 0;
}

static int start_timers(struct supervisor *s)
{
	int r = loop_add_timer(s->loop, DEADLINE_NONE, on_ttl, s, &s->ttl_timer);
	if (r == 0)
		r = loop_add_timer(s->loop, DEADLINE_NONE, on_idle, s, &s->idle_timer);
	if (r == 0)
		r = loop_add_timer(s->loop, DEADLINE_NONE, on_kill_due, s, &s->kill_timer);
	return r < 0 ? r
		     : loop_add_timer(s->loop, DEADLINE_NONE, on_restart_due, s, &s->restart_timer);
}

static int prepare(struct supervisor *s, struct mvm_error *err)
{
	/* inherited, so not close-on-exec yet; the VMM must not inherit them, too */
	for (int i = SUPERVISOR_FD_FIRST; i < SUPERVISOR_FD_END; i++) {
		if (fcntl(s->given->fd[i], F_SETFD, FD_CLOEXEC) < 0)
			return mvm_error_set(err, -errno, "descriptor %d is missing", i);
	}
	lock_sign(s->given->fd[SUPERVISOR_FD_LOCK], SUPERVISOR_PROGRAM);
	/* Each connection to a forwarded port may take two descriptors of ours (netns.h), and some
	 * must be left for control.sock. */
	rlimit_raise(RLIMIT_NOFILE);
	int r = loop_new(&s->loop);
	if (r == 0)
		r = clients_init(&s->clients, s->loop, &s->machine.agent);
	if (r < 0)
		return mvm_error_set(err, r, "cannot start: %s", strerror(-r));
	life_begin(s);
	s->clients.on_leash_gone = on_leash_gone;
	s->clients.on_job = on_job;
	s->clients.arg = s;
	r = block_signals(s);
	if (r == 0)
		r = clients_add_leash(&s->clients, s->given->fd[SUPERVISOR_FD_LEASH]);
	if (r < 0)
		return mvm_error_set(err, r, "cannot start: %s", strerror(-r));
	r = record_load(s->given->fd[SUPERVISOR_FD_INSTANCE], &s->record, err);
	if (r < 0)
		return r;
	s->record.supervisor_pid = getpid();
	s->clients.no_agent = s->record.no_agent ? "the VM " RUN_NO_AGENT : NULL;
	r = start_timers(s);
	if (r < 0)
		return mvm_error_set(err, r, "cannot start: %s", strerror(-r));
	r = revision_load_at(s->given->fd[SUPERVISOR_FD_REVISION], &s->revision, err);
	if (r == 0 && s->record.no_workload)
		workload_leave_out(&s->revision.run);
	source_find(s);
	if (r == 0)
		r = shut_in(s, err); /* from here on the guest's words are read */
	return r < 0 ? r : watch_signals(s, err);
}

int supervise(const struct supervisor_given *given)
{
	struct supervisor s = {
		.given = given, .host = HOSTLOAD_FILES_NONE, .signal_fd = -1, .source_fd = -1
	};
	struct mvm_error err = { 0 };
	int r = prepare(&s, &err);
	if (r < 0) {
		fprintf(stderr, "mvm-supervisor: %s\n", err.text);
		if (s.clients.leash_id)
			answer_start(&s, &err);
	}
	int status = r < 0 ? 1 : run(&s);

	shut_in_done(&s);

	clients_done(&s.clients);
	loop_source_free(s.signal_source);
	loop_source_free(s.source_source);
	loop_source_free(s.ttl_timer);
	loop_source_free(s.idle_timer);
	loop_source_free(s.restart_timer);
	loop_source_free(s.kill_timer);
	if (s.signal_fd >= 0)
		close(s.signal_fd);
	hostload_files_done(&s.host);
	mvm_template_revision_done(&s.revision);
	record_done(&s.record);
	loop_free(s.loop);
	return status;
}
