/* SPDX-License-Identifier: Apache-2.0 */
#include "watched_life.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "base/clock.h"

struct watched *watched;

static pid_t test_pid;

int __real_clock_gettime(clockid_t id, struct timespec *ret);
int __wrap_clock_gettime(clockid_t id, struct timespec *ret);
int __wrap_clock_gettime(clockid_t id, struct timespec *ret)
{
	int r = __real_clock_gettime(id, ret);
	if (r == 0 && id == CLOCK_MONOTONIC && getpid() != test_pid) {
		ret->tv_sec = watched->now_ns / NS_PER_S;
		ret->tv_nsec = watched->now_ns % NS_PER_S;
	}
	return r;
}

static void note_step(const struct supervisor *s)
{
	unsigned n = watched->n;
	if (n < WATCHED_STEPS_MAX && (n == 0 || watched->step[n - 1] != (int)s->state)) {
		watched->step[n] = (int)s->state;
		watched->n = n + 1;
	}
}

void __real_life_begin(struct supervisor *s);
void __wrap_life_begin(struct supervisor *s);
void __wrap_life_begin(struct supervisor *s)
{
	__real_life_begin(s);
	note_step(s);
}

void __real_life_enter(struct supervisor *s, enum life_state to);
void __wrap_life_enter(struct supervisor *s, enum life_state to);
void __wrap_life_enter(struct supervisor *s, enum life_state to)
{
	__real_life_enter(s, to);
	note_step(s);
}

void __real_life_leave(struct supervisor *s, enum life_state from, enum life_state to);
void __wrap_life_leave(struct supervisor *s, enum life_state from, enum life_state to);
void __wrap_life_leave(struct supervisor *s, enum life_state from, enum life_state to)
{
	__real_life_leave(s, from, to);
	note_step(s);
}

bool watched_init(void)
{
	void *at = mmap(NULL, sizeof(*watched), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	if (at == MAP_FAILED)
		return false;
	watched = at;
	test_pid = getpid();
	return true;
}

void watched_begin(void)
{
	struct timespec ts;
	__real_clock_gettime(CLOCK_MONOTONIC, &ts);
	watched->now_ns = ts.tv_sec * NS_PER_S + ts.tv_nsec;
	watched->n = 0;
}

int watched_setup(void **state)
{
	watched_begin();
	return world_setup(state);
}

void watched_turn(struct control *c)
{
	if (wait_reply(c, begin_call(c, WATCHED_NO_CALL), NULL) == 0)
		fail_msg("a supervisor has accepted a call that does not exist");
}

/* Returns a client whose hang-up wakes the supervisor. */
static struct control synced(struct world *x)
{
	struct control c;
	connect_client(x, &c);
	watched_turn(&c);
	watched_turn(&c);
	return c;
}

void watched_sync(struct world *x)
{
	struct control c = synced(x);
	control_done(&c);
}

void watched_pass(struct world *x, int64_t ms)
{
	/* sync first: once the time has passed, any turn of its loop may be its last one */
	struct control c = synced(x);
	watched->now_ns += ms * NS_PER_MS;
	control_done(&c); /* it sleeps by the real clock, so wake it */
}

void watched_pass_to(struct world *x, int64_t ms, const char *event)
{
	watched_pass(x, ms);
	for (int turns = 0; turns < 1000 && !events(x, event, NULL); turns++) {
		AUTO_DONE(record) r = { 0 };
		inspect(x, &r); /* waits for the end of a step */
	}
	assert_int_equal(events(x, event, NULL), 1);
}
