/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every event of a supervisor happens in every state in which it can.
 *
 * The table below holds the promises of life.h.  A row is a state, a column is an event, and a cell
 * lists the states that follow, down to the last one.  The supervisor's clock stands still
 * (watched_life.h), so timers fire when the test moves it.
 */
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "base/clock.h"
#include "scripted_vmm.h"
#include "supervisor_world.h"
#include "watched_life.h"

#define TTL_MS	    5000
#define RESTART_MS  1	  /* before the time to live is over */
#define PATIENCE_MS 10000 /* how long agent_client.c waits for a VMM whose agent has hung up */

enum event { VMM_DIES, POWERS_OFF, STARTER_GOES, DETACHED, AGENT_CLOSES, STOP, TTL, EVENTS };

static const char *const event_names[EVENTS] = {
	[VMM_DIES] = "its VMM dies",
	[POWERS_OFF] = "its guest powers off",
	[STARTER_GOES] = "the starter of an attached VM goes",
	[DETACHED] = "the starter of a detached VM goes",
	[AGENT_CLOSES] = "the agent's channel closes",
	[STOP] = "a stop arrives",
	[TTL] = "its time to live is over",
};

#define NEVER NULL /* the event cannot happen in this state */
#define STAYS                                                                                      \
	"-" /* the event changes nothing; then the VMM dies, or without a VMM a stop arrives */

#define FAILS	    "FAILED"
#define EXITS	    "EXITED"
#define IS_KILLED   "KILLING STOPPED"
#define SHUTS_DOWN  "STOPPING STOPPED"
#define STOPS_STILL "STOPPING KILLING STOPPED"	   /* it must not or cannot run on */
#define WAKES	    "RESUMING UP STOPPING STOPPED" /* a paused guest cannot shut down */

#define STATE(name) LIFE_##name, #name

static const struct row {
	enum life_state state;
	const char *name;
	const char *then[EVENTS];
} table[] = {
	/* STATE, then VMM_DIES, POWERS_OFF, STARTER_GOES, DETACHED, AGENT_CLOSES, STOP, TTL */
	{ STATE(STARTING), { FAILS, FAILS, "STOPPED", "STOPPED", FAILS, "STOPPED", STAYS } },
	{ STATE(STANDBY), { FAILS, EXITS, IS_KILLED, NEVER, STAYS, STOPS_STILL, NEVER } },
	/* an adoption that fails ends the VM */
	{ STATE(ADOPTING),
	  { IS_KILLED, IS_KILLED, IS_KILLED, NEVER, IS_KILLED, "UP STOPPING STOPPED", STAYS } },
	{ STATE(UP), { FAILS, EXITS, IS_KILLED, STAYS, STAYS, SHUTS_DOWN, SHUTS_DOWN } },
	/* the running step ends first, successfully or not */
	{ STATE(PAUSING),
	  { "UP FAILED", "UP EXITED", IS_KILLED, STAYS, STAYS, "PAUSED " WAKES, "PAUSED " WAKES } },
	{ STATE(PAUSED), { FAILS, EXITS, IS_KILLED, STAYS, STAYS, WAKES, WAKES } },
	{ STATE(RESUMING),
	  { "PAUSED FAILED", "PAUSED EXITED", IS_KILLED, STAYS, STAYS, "UP STOPPING STOPPED",
	    "UP STOPPING STOPPED" } },
	/* nothing is kept of a VM that ends meanwhile */
	{ STATE(SUSPENDING),
	  { "UP FAILED", "UP EXITED", NEVER, STAYS, STAYS, "UP STOPPING STOPPED",
	    "UP STOPPING STOPPED" } },
	{ STATE(FORKING),
	  { "UP FAILED", "UP EXITED", IS_KILLED, STAYS, STAYS, "UP STOPPING STOPPED",
	    "UP STOPPING STOPPED" } },
	{ STATE(CAPTURING), { FAILS, EXITS, IS_KILLED, NEVER, STAYS, STOPS_STILL, NEVER } },
	/* a client has asked it to end */
	{ STATE(RETURNING),
	  { SHUTS_DOWN, SHUTS_DOWN, IS_KILLED, STAYS, STOPS_STILL, STAYS, STAYS } },
	{ STATE(STOPPING), { "STOPPED", "STOPPED", IS_KILLED, STAYS, IS_KILLED, STAYS, STAYS } },
	/* the VM ends with its workload, which has ended, whatever the guest does */
	{ STATE(FOLLOWING),
	  { "FOLLOWED", "FOLLOWED", IS_KILLED, STAYS, "FOLLOWED", STAYS, STAYS } },
	{ STATE(KILLING), { "STOPPED", NEVER, STAYS, STAYS, NEVER, STAYS, STAYS } },
	/* down, but the starter has not read the result yet */
	{ STATE(STOPPED), { NEVER, NEVER, "", NEVER, NEVER, STAYS, STAYS } },
	/* its supervisor waits for nobody */
	{ STATE(SUSPENDED), { NEVER, NEVER, NEVER, NEVER, NEVER, NEVER, NEVER } },
	{ STATE(FOLLOWED), { NEVER, NEVER, "", NEVER, NEVER, STAYS, STAYS } },
	{ STATE(EXITED), { NEVER, NEVER, "", NEVER, NEVER, STAYS, STAYS } },
	{ STATE(FAILED), { NEVER, NEVER, "", NEVER, NEVER, STAYS, STAYS } },
	{ STATE(WAITING), { NEVER, NEVER, "STOPPED", STAYS, NEVER, "STOPPED", "STOPPED" } },
	{ STATE(RESTARTING),
	  { "FAILED WAITING", "FAILED WAITING", "FAILED STOPPED", STAYS, "FAILED WAITING",
	    "FAILED STOPPED", "FAILED STOPPED" } },
};

static enum life_state last_step(void)
{
	assert_true(watched->n > 0);
	return (enum life_state)watched->step[watched->n - 1];
}

/* ---- to each state ---- */

struct play {
	struct world *x;
	struct control client; /* the client that asked for the running step */
	bool has_client;
	bool steps;	/* the VMM's step waits for an answer */
	uint32_t adopt; /* the agent's call that waits for an answer */
};

static struct play play;

static void begin_client(struct play *p)
{
	connect_client(p->x, &p->client);
	p->has_client = true;
}

static void end_client(struct play *p)
{
	if (p->has_client)
		control_done(&p->client);
	p->has_client = false;
}

static bool is_down(enum life_state state)
{
	return state >= LIFE_STOPPED && state <= LIFE_FAILED;
}

/* A supervisor that is down reads only its starter's connection. */
static void sync_with(struct play *p)
{
	if (!is_down(last_step())) {
		watched_sync(p->x);
		return;
	}
	watched_turn(&p->x->leash);
	watched_turn(&p->x->leash);
}

static void let_pass(struct play *p, int64_t ms)
{
	struct control c;
	bool down = is_down(last_step());
	/* sync first: once the time has passed, any turn of its loop may be its last one */
	if (!down)
		connect_client(p->x, &c);
	watched->now_ns += ms * NS_PER_MS;
	/* it sleeps by the real clock, so wake it */
	if (down)
		begin_call(&p->x->leash, WATCHED_NO_CALL);
	else
		control_done(&c);
}

static void await_step(struct control *c, enum life_state state)
{
	while (last_step() != state)
		watched_turn(c);
	watched_turn(c); /* until it waits */
}

static void boot_to_greeting(struct world *x)
{
	expect_spawn(x);
	go_on(x);
	expect_step(x, VMM_STEP_BOOT);
	go_on(x);
}

static void reach_pause(struct play *p, enum life_state state)
{
	struct world *x = p->x;
	start_up(x);
	begin_client(p);
	uint32_t call = begin_call(&p->client, CALL_PAUSE);
	expect_step(x, VMM_STEP_PAUSE);
	p->steps = true;
	if (state == LIFE_PAUSING)
		return;
	go_on(x);
	p->steps = false;
	assert_int_equal(wait_reply(&p->client, call, NULL), 0);
	if (state == LIFE_PAUSED)
		return;
	begin_call(&p->client, CALL_RESUME);
	expect_step(x, VMM_STEP_RESUME);
	p->steps = true;
}

static void reach_adopting(struct play *p)
{
	struct world *x = p->x;
	int64_t ttl_ms = x->record.ttl_ms;
	x->record.ttl_ms = 0; /* VMs of a pool have no time to live */
	stand_by(x);
	x->record.ttl_ms = ttl_ms;
	begin_adopt(x, &p->client, "mine");
	p->has_client = true;
	expect_step(x, VMM_STEP_RESUME);
	go_on(x);
	p->adopt = expect_call(x, CALL_RESTORED);
}

static void reach_saving(struct play *p, enum life_state state)
{
	start_clone(p->x);
	begin_client(p);
	begin_call(&p->client, state == LIFE_FORKING ? CALL_FORK : CALL_SUSPEND);
	freeze_clone(p->x);
	p->steps = true;
}

static void reach_capturing(struct play *p)
{
	struct world *x = p->x;
	x->record.purpose = RECORD_FOR_CAPTURE;
	x->record.attached = true;
	start_up(x);
	begin_client(p);
	begin_call(&p->client, CALL_CAPTURE);
	answer_nonce(x, expect_call(x, CALL_PREPARE));
	expect_step(x, VMM_STEP_PAUSE);
	go_on(x);
	expect_step(x, VMM_STEP_CAPTURE);
	p->steps = true;
}

static void reach_end(struct play *p, enum life_state state)
{
	struct world *x = p->x;
	bool follows = state == LIFE_FOLLOWING || state == LIFE_FOLLOWED;
	if (follows)
		set_command(x);
	if (state == LIFE_RETURNING)
		add_volume(x);
	launch(x);
	boot_guest(x);
	if (state == LIFE_RETURNING)
		take_volume(x);
	assert_int_equal(start_status(x, NULL), 0);
	if (follows) {
		end_workload(x, 3);
	} else if (state == LIFE_STOPPING || state == LIFE_KILLING) {
		begin_client(p);
		begin_stop(&p->client, state == LIFE_KILLING ? 0 : 10000);
	} else {
		assert_int_equal(kill(x->supervisor, SIGTERM), 0);
	}
	if (state == LIFE_KILLING)
		expect_killed(x);
	else
		expect_call(x, state == LIFE_RETURNING ? CALL_GET : CALL_SHUTDOWN);
}

/* An attached VM is down, and its starter has not answered yet. */
static void reach_down(struct play *p, enum life_state state)
{
	struct world *x = p->x;
	x->record.attached = true;
	if (state == LIFE_STOPPED || state == LIFE_FOLLOWED)
		reach_end(p, state);
	else
		start_up(x);
	if (state == LIFE_FAILED)
		kill_guest(x);
	else
		power_off(x);
	await_step(&x->leash, state);
}

static void reach_restart(struct play *p, enum life_state state)
{
	struct world *x = p->x;
	x->record.restart = RECORD_RESTART_ALWAYS;
	start_up(x);
	kill_guest(x);
	await_step(&x->leash, LIFE_WAITING);
	if (state == LIFE_WAITING)
		return;
	let_pass(p, RESTART_MS);
	boot_to_greeting(x);
}

static void reach(struct play *p, enum life_state state)
{
	struct world *x = p->x;
	x->restart_pause_ms = state == LIFE_WAITING ? 2 * (int64_t)TTL_MS : RESTART_MS;
	scripted_vmm_holds_end = state == LIFE_KILLING;
	if (state == LIFE_STARTING) {
		launch(x);
		boot_to_greeting(x);
	} else if (state == LIFE_STANDBY) {
		stand_by(x);
	} else if (state == LIFE_ADOPTING) {
		reach_adopting(p);
	} else if (state == LIFE_UP) {
		start_up(x);
	} else if (state <= LIFE_RESUMING) {
		reach_pause(p, state);
	} else if (state == LIFE_SUSPENDING || state == LIFE_FORKING) {
		reach_saving(p, state);
	} else if (state == LIFE_CAPTURING) {
		reach_capturing(p);
	} else if (state <= LIFE_KILLING) {
		reach_end(p, state);
	} else if (state <= LIFE_FAILED) {
		reach_down(p, state);
	} else {
		reach_restart(p, state);
	}
}

/* ---- the event, and the states that follow ---- */

static void ask_to_stop(struct play *p)
{
	struct control c;
	if (is_down(last_step())) {
		assert_int_equal(kill(p->x->supervisor, SIGTERM), 0);
		return;
	}
	connect_client(p->x, &c);
	begin_stop(&c, 10000);
	watched_turn(&c);
	control_done(&c);
}

static void let_happen(struct play *p, enum event event)
{
	struct world *x = p->x;
	if (event == VMM_DIES && last_step() == LIFE_KILLING)
		go_on(x); /* report the end of the killed VMM */
	else if (event == VMM_DIES)
		kill_guest(x);
	else if (event == POWERS_OFF)
		power_off(x);
	else if (event == AGENT_CLOSES)
		hang_up_agent(x);
	else if (event == STOP)
		ask_to_stop(p);
	else if (event == TTL)
		let_pass(p, TTL_MS);
	else if (last_step() == LIFE_ADOPTING)
		end_client(p); /* this client holds the leash */
	else
		control_done(&x->leash);
}

static void answer_frame(struct world *x, const struct frame *f)
{
	uint64_t call;
	if (f->type != FRAME_CALL ||
	    !wire_find_u64(f->payload, f->len, FIELD_CALL, UINT64_MAX, &call))
		return;
	if (call == CALL_AWAIT)
		return; /* the command keeps running */
	AUTO_DONE(strbuf) fields = { 0 };
	wire_put_u64(&fields, FIELD_STATUS, 0);
	/* the guest may be dying */
	channel_send(&x->guest, FRAME_REPLY, f->stream, fields.data, fields.len);
	if (call == CALL_SHUTDOWN)
		power_off(x);
}

/* Answer the supervisor's calls, until it has ended or waits for a restart. */
static void play_on(struct play *p)
{
	struct world *x = p->x;
	int pidfd = (int)syscall(SYS_pidfd_open, x->supervisor, 0);
	struct pollfd fds[3] = { { .fd = pidfd, .events = POLLIN },
				 { .fd = x->steps_fd, .events = POLLIN } };
	assert_true(pidfd >= 0);
	while (!fds[0].revents) {
		struct frame f;
		char letter;
		int r = 0;
		fds[2] = (struct pollfd){ .fd = x->guest.fd > 0 ? x->guest.fd : -1,
					  .events = POLLIN };
		if (poll(fds, 3, 100000) <= 0)
			fail_msg("the supervisor neither asks nor ends in state '%s'",
				 life_name(last_step()));
		if (fds[1].revents && read(x->steps_fd, &letter, 1) == 1)
			go_on(x);
		else if (fds[1].revents)
			fds[1].fd = -1;
		while (fds[2].revents && x->guest.fd > 0 &&
		       (r = channel_receive(&x->guest, &f)) > 0)
			answer_frame(x, &f);
		if (r < 0)
			power_off(x);
	}
	close(pidfd);
}

static const char *name_of(int state)
{
	for (size_t i = 0; i < MVM_ARRAY_SIZE(table); i++) {
		if ((int)table[i].state == state)
			return table[i].name;
	}
	return "?";
}

static void assert_steps(const struct row *row, enum event event, unsigned from, const char *path)
{
	char got[WATCHED_STEPS_MAX * 16] = "";
	for (unsigned i = from; i < watched->n; i++) {
		strcat(got, got[0] ? " " : "");
		strcat(got, name_of(watched->step[i]));
	}
	if (strcmp(got, path) != 0)
		fail_msg("%s, %s: expected '%s', got '%s'", row->name, event_names[event], path,
			 got);
}

static bool is_last(const char *path, const char *state)
{
	size_t len = strlen(path), n = strlen(state);
	return len >= n && strcmp(path + len - n, state) == 0;
}

/* Let a running step and adoption end. */
static void end_sequence(struct play *p)
{
	if (p->steps)
		go_on(p->x);
	if (p->adopt)
		answer_nonce(p->x, p->adopt);
}

/* The supervisor waits for the end of a VMM whose agent has hung up.  This one does not end. */
static void end_patience(struct play *p, enum life_state from)
{
	static const uint32_t waits = 1u << LIFE_STARTING | 1u << LIFE_ADOPTING |
				      1u << LIFE_RETURNING | 1u << LIFE_STOPPING |
				      1u << LIFE_FOLLOWING | 1u << LIFE_RESTARTING;
	if (!(waits >> from & 1))
		return;
	if (from == LIFE_RETURNING)
		await_step(&p->x->leash, LIFE_STOPPING);
	sync_with(p);
	let_pass(p, PATIENCE_MS);
}

static void check_cell(struct play *p, const struct row *row, enum event event)
{
	struct world *x = p->x;
	const char *path = row->then[event];
	x->record.attached = event == STARTER_GOES;
	x->record.ttl_ms = event == TTL ? TTL_MS : 0;
	reach(p, row->state);
	if (last_step() != row->state)
		fail_msg("reached %s and not %s", name_of((int)last_step()), row->name);
	unsigned from = watched->n;
	let_happen(p, event);
	if (strcmp(path, STAYS) == 0) {
		sync_with(p);
		assert_steps(row, event, from, "");
		enum event next = row->then[VMM_DIES] ? VMM_DIES : STOP;
		next = is_down(row->state) ? STARTER_GOES : next;
		path = row->then[next];
		let_happen(p, next);
	} else if (event == STOP || event == TTL) {
		end_sequence(p);
	}
	char ends[64];
	snprintf(ends, sizeof(ends), "%s", path);
	if (event == AGENT_CLOSES)
		end_patience(p, row->state);
	if (is_last(path, "WAITING")) {
		struct control c;
		connect_client(x, &c);
		await_step(&c, LIFE_WAITING);
		control_done(&c);
		ask_to_stop(p);
		snprintf(ends, sizeof(ends), "%s STOPPED", path);
	}
	play_on(p);
	expect_end(x, row->state == LIFE_STARTING);
	assert_steps(row, event, from, ends);
}

static int end_play(void **unused)
{
	void *state = play.x;
	(void)unused;
	end_client(&play);
	play.x = NULL;
	return state ? world_teardown(&state) : 0;
}

static void run_column(enum event event)
{
	for (size_t i = 0; i < MVM_ARRAY_SIZE(table); i++) {
		void *state = NULL;
		if (table[i].then[event] == NEVER)
			continue;
		watched_begin();
		assert_int_equal(world_setup(&state), 0);
		play = (struct play){ .x = state };
		check_cell(&play, &table[i], event);
		assert_int_equal(end_play(NULL), 0);
	}
}

static void a_vmm_may_die_in_every_state(void **state)
{
	(void)state;
	run_column(VMM_DIES);
}

static void a_guest_may_power_off_in_every_state(void **state)
{
	(void)state;
	run_column(POWERS_OFF);
}

static void an_attached_vm_ends_with_its_starter_in_every_state(void **state)
{
	(void)state;
	run_column(STARTER_GOES);
}

static void a_detached_vm_outlives_its_starter_in_every_state(void **state)
{
	(void)state;
	run_column(DETACHED);
}

static void an_agents_channel_may_close_in_every_state(void **state)
{
	(void)state;
	run_column(AGENT_CLOSES);
}

static void a_stop_may_arrive_in_every_state(void **state)
{
	(void)state;
	run_column(STOP);
}

static void a_time_to_live_may_be_over_in_every_state(void **state)
{
	(void)state;
	run_column(TTL);
}

static void every_state_has_its_row(void **state)
{
	(void)state;
	assert_int_equal(MVM_ARRAY_SIZE(table), LIFE_STATES);
	for (unsigned s = 0; s < LIFE_STATES; s++)
		assert_int_equal(table[s].state, s);
}

#define COLUMN(name) cmocka_unit_test_teardown(name, end_play)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_state_has_its_row),
		COLUMN(a_vmm_may_die_in_every_state),
		COLUMN(a_guest_may_power_off_in_every_state),
		COLUMN(an_attached_vm_ends_with_its_starter_in_every_state),
		COLUMN(a_detached_vm_outlives_its_starter_in_every_state),
		COLUMN(an_agents_channel_may_close_in_every_state),
		COLUMN(a_stop_may_arrive_in_every_state),
		COLUMN(a_time_to_live_may_be_over_in_every_state),
	};
	if (!watched_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
