/* SPDX-License-Identifier: Apache-2.0 */
/* The calls that a supervisor answers itself, one at a time. */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "net/wire.h"
#include "supervisor/supervise.h"

#define CAPTURE_DEADLINE_MS INT64_C(120000)

void kill_vmm(struct supervisor *s)
{
	if (s->machine.vmm)
		vmm_kill(s->machine.vmm);
}

void cut_off(struct supervisor *s)
{
	if (s->state != LIFE_KILLING)
		life_enter(s, LIFE_KILLING);
	kill_vmm(s);
}

void answer(struct supervisor *s, const struct job *j, const struct mvm_error *err,
	    const struct strbuf *fields)
{
	clients_reply(&s->clients, j->client_id, j->stream, err, fields);
}

void stop_guest(struct supervisor *s, int64_t timeout_ms)
{
	/* paused, it could neither end its workload nor write what its disks lack; one that does
	 * not resume is killed */
	if (s->state == LIFE_PAUSED && timeout_ms > 0 && !s->machine.ended)
		resume_guest(s, NULL);
	healthwatch_stop(&s->health);
	clocksync_stop(&s->clock);
	if (s->state != LIFE_KILLING) {
		life_enter(s, LIFE_STOPPING);
		machine_shutdown(&s->machine, clock_deadline_ns(timeout_ms));
	}
	if (!s->machine.ended)
		cut_off(s);
}

void wait_for_end(struct supervisor *s, struct job *j)
{
	/* a client that gives up waiting does not tell us, and a VM may run for years */
	for (struct job **at = &s->waiting; *at;) {
		struct job *other = *at;
		if (clients_has(&s->clients, other->client_id)) {
			at = &other->next;
		} else {
			*at = other->next;
			job_free(other);
		}
	}
	j->next = s->waiting;
	s->waiting = j;
}

static int do_capture(struct supervisor *s, struct strbuf *fields, struct mvm_error *err)
{
	uint8_t nonce[NONCE_BYTES];
	int64_t prepare_ns;
	if (s->record.purpose != RECORD_FOR_CAPTURE)
		return mvm_error_set(err, -EOPNOTSUPP, "this VM was not started to be captured");
	if (s->state == LIFE_UP) /* else an earlier attempt has failed; this one reports why */
		life_enter(s, LIFE_CAPTURING);
	int r = machine_capture(&s->machine, clock_deadline_ns(CAPTURE_DEADLINE_MS), nonce,
				&prepare_ns, err);
	if (r == 0) /* the VM is paused, so disk and memory match */
		r = warden_capture_disks(&s->warden, err);
	if (r == 0) {
		wire_put_bytes(fields, FIELD_NONCE, nonce, sizeof(nonce));
		wire_put_u64(fields, FIELD_TIME_NS, (uint64_t)prepare_ns);
	}
	return r;
}

static int do_pause(struct supervisor *s, bool pause, struct mvm_error *err)
{
	int64_t deadline_ns = clock_deadline_ns(STOP_DEFAULT_MS);
	if (s->record.purpose == RECORD_FOR_POOL)
		return mvm_error_set(err, -EBUSY, "this VM waits in a pool");
	/* a guest that ran on would change its memory, which must match its device state */
	if (s->record.purpose == RECORD_FOR_CAPTURE)
		return mvm_error_set(err, -EBUSY, "this VM was started to be captured");
	if (s->machine.ended)
		return mvm_error_set(err, -EBUSY, "the VM is about to be started again");
	if (s->state == (pause ? LIFE_PAUSED : LIFE_UP)) {
		int r = mvm_error_set(err, -EBUSY, "it is %s",
				      pause ? "paused already" : "not paused");
		return pause ? mvm_error_reason(err, r, "vm-paused", s->record.name) : r;
	}
	enum life_state from = pause ? LIFE_UP : LIFE_PAUSED;
	enum life_state to = pause ? LIFE_PAUSED : LIFE_UP;
	enum life_state now = pause ? LIFE_PAUSING : LIFE_RESUMING;
	if (s->state == from) /* else the VMM is in another state, too, and its error names it */
		life_enter(s, now);
	int r = pause ? vmm_pause(s->machine.vmm, deadline_ns, err)
		      : vmm_resume(s->machine.vmm, deadline_ns, err);
	life_leave(s, now, r < 0 ? from : to);
	if (r < 0)
		return r;
	if (pause) {
		healthwatch_pause(&s->health);
		clocksync_stop(&s->clock);
	} else {
		healthwatch_resume(&s->health);
		/* out of memory: the guest's clock stays behind, nothing worse */
		if (!s->machine.no_agent)
			clocksync_start(&s->clock, s->loop, &s->machine.agent, 0);
	}
	save_record(s);
	tell(s, pause ? "paused" : "resumed", NULL);
	return 0;
}

int pause_guest(struct supervisor *s, struct mvm_error *err)
{
	return do_pause(s, true, err);
}

int resume_guest(struct supervisor *s, struct mvm_error *err)
{
	return do_pause(s, false, err);
}

static int do_rename(struct supervisor *s, const struct job *j, struct mvm_error *err)
{
	AUTO_FREE char *name = NULL;
	struct wire_field field;
	if (wire_find(j->args.data, j->args.len, FIELD_NAME, &field) <= 0 ||
	    wire_get_str(&field, &name) < 0)
		return mvm_error_set(err, -EPROTO, "a call without its fields");
	int r = warden_rename(&s->warden, name, err);
	if (r < 0)
		return r;
	free(s->record.former_name);
	s->record.former_name = s->record.name;
	s->record.name = TAKE_PTR(name);
	return 0;
}

int64_t stop_timeout_ms(const struct job *j)
{
	uint64_t ms = STOP_DEFAULT_MS;
	wire_find_u64(j->args.data, j->args.len, FIELD_TIMEOUT_MS, INT32_MAX, &ms);
	return (int64_t)ms;
}

void run_job(struct supervisor *s, struct job *taken)
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
	case CALL_SUSPEND:
		suspend(s, TAKE_PTR(j));
		return;
	case CALL_FORK:
		fork_guest(s, j);
		return;
	case CALL_CAPTURE:
		r = do_capture(s, &fields, &err);
		break;
	case CALL_STOP: {
		int64_t timeout_ms = stop_timeout_ms(j);
		wait_for_end(s, TAKE_PTR(j));
		stop_guest(s, timeout_ms); /* on_job() has set the reason */
		return;
	}
	case CALL_NETWORK:
		r = set_network(s, j, &err);
		break;
	case CALL_RENAME:
		r = do_rename(s, j, &err);
		break;
	case CALL_TTL:
		r = set_ttl(s, j, &err);
		break;
	case CALL_ADOPT:
		adopt(s, j);
		return;
	case CALL_KEEP:
		break; /* on_job() did it at once */
	default:       /* CALL_WAIT: the queue accepts no other call */
		wait_for_end(s, TAKE_PTR(j));
		return;
	}
	answer(s, j, r < 0 ? &err : NULL, &fields);
}
