/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/healthwatch.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "supervisor/machine_fields.h"

#define INTERVAL_MS_DEFAULT 10000u
#define FIRST_MS	    5000 /* to a clone's first check: the other clones have started by then */
#define PUT_OFF_MAX	    3u	 /* times FIRST_MS: a clone must not stay unchecked */
#define ATTEMPT_MS	    5000u    /* the agent's own limit */
#define ANSWER_GRACE_MS	    5000     /* for an answer to arrive from a busy guest */
#define LATE_NS		    NS_PER_S /* our own timer fires so late only on a host that is busy */
#define EXCUSES_MAX	    6u	     /* in a row: about a minute */

static int64_t interval_ms(const struct healthwatch *w)
{
	uint32_t ms = w->health->interval_ms ? w->health->interval_ms : INTERVAL_MS_DEFAULT;
	return ms < w->interval_min_ms ? w->interval_min_ms : ms;
}

static unsigned retries(const struct healthwatch *w)
{
	return w->health->retries ? w->health->retries : MVM_HEALTH_RETRIES;
}

static void set_state(struct healthwatch *w, enum record_health state)
{
	if (w->state == state)
		return;
	w->state = state;
	w->fn(w->arg, state, w->message[0] ? w->message : NULL);
}

static void arm(struct healthwatch *w, int64_t timeout_ms)
{
	w->due_ns = clock_deadline_ns(timeout_ms);
	loop_source_arm(w->timer, w->due_ns);
}

static void next(struct healthwatch *w)
{
	arm(w, interval_ms(w));
}

bool healthwatch_excuses(struct healthwatch *w, int64_t late_ns, const struct hostload *host)
{
	if ((late_ns < LATE_NS && !hostload_is_slow(host)) || w->excuses >= EXCUSES_MAX)
		return false;
	w->excuses++;
	return true;
}

bool healthwatch_puts_off(struct healthwatch *w, const struct hostload *now, int64_t now_ns)
{
	int64_t elapsed_ns = now_ns - w->at_start_ns;
	if (w->state != RECORD_HEALTH_STARTING || w->asked_ns || w->put_off >= PUT_OFF_MAX ||
	    !hostload_was_busy(&w->at_start, now, elapsed_ns))
		return false;
	w->put_off++;
	w->at_start = *now;
	w->at_start_ns = now_ns;
	return true;
}

static void failed(struct healthwatch *w, const char *message)
{
	snprintf(w->message, sizeof(w->message), "%s", message);
	next(w);
	if (w->state != RECORD_HEALTH_HEALTHY && clock_now_ns() < w->grace_ends_ns)
		return;
	if (++w->failures >= retries(w))
		set_state(w, RECORD_HEALTH_UNHEALTHY);
}

/* Note that no answer came in time.  The message says if the host may be at fault. */
static void failed_late(struct healthwatch *w, const struct hostload *host, const char *message)
{
	char pressure[HOSTLOAD_TEXT_SIZE], text[sizeof(w->message)];
	hostload_describe(host, pressure);
	snprintf(text, sizeof(text), "%s%s%s", message,
		 hostload_is_slow(host) ? "; the host is busy: " : "",
		 hostload_is_slow(host) ? pressure : "");
	failed(w, text);
}

static void on_answer(void *arg, int status, const char *message, const struct frame *reply)
{
	struct healthwatch *w = arg;
	int64_t took_ns = clock_now_ns() - w->asked_ns - ATTEMPT_MS * NS_PER_MS;
	struct hostload host;
	(void)reply;
	if (status == EBUSY) { /* it is frozen for a commit, which says nothing about it */
		next(w);
		return;
	}
	if (status != 0 && took_ns >= 0) { /* the agent's own attempt has timed out */
		hostload_read_files(w->files, &host);
		if (healthwatch_excuses(w, took_ns, &host))
			next(w);
		else
			failed_late(w, &host, message);
		return;
	}
	if (status != 0) {
		failed(w, message);
		return;
	}
	next(w);
	w->failures = w->excuses = 0;
	w->message[0] = '\0';
	set_state(w, RECORD_HEALTH_HEALTHY);
}

static void not_answered(struct healthwatch *w)
{
	struct hostload host;
	hostload_read_files(w->files, &host);
	if (healthwatch_excuses(w, clock_now_ns() - w->due_ns, &host)) {
		arm(w, ATTEMPT_MS + ANSWER_GRACE_MS); /* give the same call more time */
		return;
	}
	agent_client_cancel(w->agent, &w->call);
	failed_late(w, &host, "the guest's agent did not answer");
}

static void on_timer(void *arg)
{
	struct healthwatch *w = arg;
	AUTO_DONE(strbuf) args = { 0 };
	struct hostload host;

	if (w->call.stream) {
		not_answered(w);
		return;
	}
	if (w->state == RECORD_HEALTH_STARTING && !w->asked_ns) {
		hostload_read_files(w->files, &host);
		if (healthwatch_puts_off(w, &host, clock_now_ns())) {
			arm(w, FIRST_MS);
			return;
		}
	}
	unsigned call = CALL_PING;
	if (w->health->kind != MVM_HEALTH_AGENT) {
		call = CALL_HEALTH;
		machine_put_health(w->health, ATTEMPT_MS, ATTEMPT_MS, &args);
	}
	int r = agent_client_begin(w->agent, &w->call, call, &args, on_answer, w);
	if (r < 0) {
		failed(w, "the guest's agent cannot be reached");
		return;
	}
	w->asked_ns = clock_now_ns();
	arm(w, ATTEMPT_MS + ANSWER_GRACE_MS);
}

int healthwatch_start(struct healthwatch *w, struct loop *loop, const struct mvm_health *health,
		      struct agent_client *agent, const struct hostload_files *files,
		      enum record_health known, int64_t interval_min_ms, healthwatch_fn fn,
		      void *arg)
{
	*w = (struct healthwatch){
		.health = health,
		.agent = agent,
		.files = files,
		.at_start_ns = clock_now_ns(),
		.state = known,
		.interval_min_ms = interval_min_ms,
		.fn = fn,
		.arg = arg,
		.grace_ends_ns = clock_deadline_ns((int64_t)health->start_grace_s * 1000),
	};
	if (known == RECORD_HEALTH_STARTING)
		hostload_read_files(files, &w->at_start);
	int64_t first_ms = known == RECORD_HEALTH_STARTING ? FIRST_MS : interval_ms(w);
	return loop_add_timer(loop, clock_deadline_ns(first_ms), on_timer, w, &w->timer);
}

void healthwatch_pause(struct healthwatch *w)
{
	if (!w->timer)
		return;
	agent_client_cancel(w->agent, &w->call);
	loop_source_arm(w->timer, DEADLINE_NONE);
}

void healthwatch_resume(struct healthwatch *w)
{
	if (w->timer)
		next(w);
}

void healthwatch_stop(struct healthwatch *w)
{
	if (!w->timer)
		return;
	agent_client_cancel(w->agent, &w->call);
	loop_source_free(TAKE_PTR(w->timer));
}
