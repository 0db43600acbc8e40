/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SUPERVISOR_HEALTHWATCH_H
#define SUPERVISOR_HEALTHWATCH_H

/*
 * The template's health check, repeated for as long as the guest runs.
 *
 * After a start, each check is one attempt.  A clone's first check comes soon, because the
 * snapshot's health says nothing about the clone, but not during the clone's first work, and
 * later where processes wait for a CPU all the time, as others may be starting.  Other guests were
 * checked by their start.  Then a check comes every interval_ms of the template, but at most once a
 * second; without interval_ms, every ten seconds.  The rate during a start, five times a second,
 * would keep idle clones busy.  A guest is unhealthy after `retries` failures in a row and healthy
 * after one success.  Failures within start_grace_s of the start do not count.  Without a check in
 * the template, the agent must answer.
 *
 * A missing answer does not count while the host is slow: our own timer fired late, or processes
 * wait for CPUs, memory or the disk (base/hostload.h).  That excuses a guest for a minute.  Then it
 * counts, and the message says how busy the host is.
 */

#include "model/template.h"

#include "base/hostload.h"
#include "base/loop.h"
#include "instance/record.h"
#include "supervisor/agent_client.h"

/* Called when the state changes.  message: of the last failed check, or NULL. */
typedef void (*healthwatch_fn)(void *arg, enum record_health health, const char *message);

struct healthwatch {
	const struct mvm_health *health;    /* borrowed */
	struct agent_client *agent;	    /* borrowed */
	const struct hostload_files *files; /* borrowed */
	struct hostload at_start; /* the load then, or when the first check was last put off */
	int64_t at_start_ns;
	unsigned put_off; /* how often the first check was */
	healthwatch_fn fn;
	void *arg;
	struct loop_source *timer;
	enum record_health state;
	int64_t interval_min_ms;
	struct agent_later call;
	unsigned failures;
	unsigned excuses;	  /* since the last success */
	int64_t asked_ns, due_ns; /* start of the current call; next expiry of the timer */
	int64_t grace_ends_ns;
	char message[512]; /* of the last failure; "" after a success */
};

/* Begin.  files: of this host's load.  known: the state that the start found.  interval_min_ms:
 * least time between checks. */
int healthwatch_start(struct healthwatch *w, struct loop *loop, const struct mvm_health *health,
		      struct agent_client *agent, const struct hostload_files *files,
		      enum record_health known, int64_t interval_min_ms, healthwatch_fn fn,
		      void *arg);

/* Stop checking while the virtual CPUs are paused. */
void healthwatch_pause(struct healthwatch *w);
void healthwatch_resume(struct healthwatch *w);

/* Is the missing answer the host's fault?  late_ns: how much longer than planned our own wait was.
 * This counts: after six excuses in a row it is the guest's fault. */
bool healthwatch_excuses(struct healthwatch *w, int64_t late_ns, const struct hostload *host);

/* Should a clone's first check wait, as processes have waited for a CPU since the start?  This
 * counts. */
bool healthwatch_puts_off(struct healthwatch *w, const struct hostload *now, int64_t now_ns);

/* Stop.  A zeroed struct is fine. */
void healthwatch_stop(struct healthwatch *w);

#endif
