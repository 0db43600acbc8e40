/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM follows its workload: when the template's command has ended, the VM ends too, with the
 * command's status.
 *
 * The agent reports the end by answering CALL_AWAIT.  Two agents refuse that call: one of an older
 * mvm in a snapshot, and one that runs an init as PID 1.  Such a VM runs until it is stopped.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "net/message.h"
#include "supervisor/supervise.h"

#define KILLED_STATUS (128u + 9u)

void workload_leave_out(struct mvm_run *run)
{
	mvm_strings_done(&run->command);
	mvm_strings_done(&run->on_restore);
	free(TAKE_PTR(run->restore_action));
	run->health.kind = MVM_HEALTH_AGENT;
}

static void on_ended(void *arg, int status, const char *message, const struct frame *f)
{
	struct supervisor *s = arg;
	int signal;
	(void)message;
	if (status != 0)
		return; /* the agent cannot report the end */
	int code = message_get_end(f->payload, f->len, &signal);
	if (code < 0)
		return; /* an answer without a status */
	if (signal)
		snprintf(s->workload_end, sizeof(s->workload_end), "signal %d (%s)", signal,
			 strsignal(signal));
	else
		snprintf(s->workload_end, sizeof(s->workload_end), "exit status %d", code);
	s->record.exit_code = (unsigned)code;
	s->record.has_exit_code = s->record.workload_ended = true;
	save_record(s);
}

bool workload_is_followed(const struct supervisor *s, const struct record *r)
{
	return r->purpose == RECORD_FOR_USER && !r->keep_running && s->revision.run.command.n > 0;
}

void workload_watch(struct supervisor *s)
{
	AUTO_DONE(strbuf) none = { 0 };
	if (s->revision.run.command.n == 0)
		return;
	/* the health watch reports an agent that cannot be reached */
	agent_client_begin(&s->machine.agent, &s->workload, CALL_AWAIT, &none, on_ended, s);
}

void workload_forget(struct supervisor *s)
{
	s->workload_untold = s->workload.stream != 0;
	agent_client_cancel(&s->machine.agent, &s->workload);
}

bool workload_wants_end(const struct supervisor *s)
{
	/* not before the user knows the instance's name */
	return s->record.workload_ended && !s->record.keep_running && !s->record.held &&
	       s->state == LIFE_UP && !s->end;
}

void workload_follow(struct supervisor *s)
{
	char text[128];
	return_volumes(s);
	if (s->end || s->machine.ended)
		return; /* another end came first */
	life_enter(s, LIFE_FOLLOWING);
	note_stopping(s);
	snprintf(text, sizeof(text), "the VM has ended with its workload (%s)", s->workload_end);
	/* before the guest kills their commands: the signal would not tell them why */
	clients_say_goodbye(&s->clients, text);
	healthwatch_stop(&s->health);
	clocksync_stop(&s->clock);
	machine_shutdown(&s->machine, clock_deadline_ns(STOP_DEFAULT_MS));
	if (!s->machine.ended)
		kill_vmm(s);
}

void workload_note_end(struct supervisor *s, bool stopped, bool killed)
{
	struct record *r = &s->record;
	if (r->has_exit_code)
		return;
	r->has_exit_code = true;
	r->exit_code = stopped && (killed || s->workload_untold) ? KILLED_STATUS : 0;
}
