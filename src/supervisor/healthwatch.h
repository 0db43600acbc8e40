/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SUPERVISOR_HEALTHWATCH_H
#define SUPERVISOR_HEALTHWATCH_H

/*
 * The template's health check, repeated for as long as the guest runs.
 *
 * After a start, each check is one attempt.  A clone is asked soon, since its twin's health is not
 * its own, but not while it does what it was started for; the others have just been asked.  From
 * then on they come every interval_ms of the template, though not more often than once a second,
 * and every ten seconds where the template says nothing: what is asked while a guest starts, five
 * times a second, would keep idle clones busy.  A guest is unhealthy after `retries` failures in a
 * row and healthy after one success; failures within start_grace_s of the start do not count.
 * Without a check of the template's own the agent is asked whether it is alive.
 *
 * No answer in time does not count while the host is what is slow: our own timer fired late, or
 * processes wait for CPUs, memory or the disk (base/hostload.h).  That excuses a guest for a
 * minute, then it counts, and the message says how busy the host is.
 */

#include "model/template.h"

#include "base/hostload.h"
#include "base/loop.h"
#include "instance/record.h"
#include "supervisor/agent_client.h"

/* The state has changed; message: what the last failed check said, or NULL. */
typedef void (*healthwatch_fn)(void *arg, enum record_health health, const char *message);

struct healthwatch {
	const struct mvm_health *health; /* borrowed */
	struct agent_client *agent;	 /* borrowed */
	healthwatch_fn fn;
	void *arg;
	struct loop_source *timer;
	enum record_health state;
	int64_t interval_min_ms;
	struct agent_later call;
	unsigned failures;
	unsigned excuses;	  /* since the last success */
	int64_t asked_ns, due_ns; /* the call that is under way; when the timer is to fire */
	int64_t grace_ends_ns;
	char message[512]; /* of the last failure; "" after a success */
};

/* Begin.  known: what the start has already shown.  interval_min_ms: checks come no more often. */
int healthwatch_start(struct healthwatch *w, struct loop *loop, const struct mvm_health *health,
		      struct agent_client *agent, enum record_health known, int64_t interval_min_ms,
		      healthwatch_fn fn, void *arg);

/* While the virtual CPUs stand still nothing is asked. */
void healthwatch_pause(struct healthwatch *w);
void healthwatch_resume(struct healthwatch *w);

/* Is it the host's fault that there was no answer?  late_ns: by how much our own wait was longer
 * than planned.  Counts: after six excuses in a row it is the guest's. */
bool healthwatch_excuses(struct healthwatch *w, int64_t late_ns, const struct hostload *host);

/* NULL-safe in the sense that a zeroed one is fine. */
void healthwatch_stop(struct healthwatch *w);

#endif
