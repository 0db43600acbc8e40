/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Suspend and fork: saves the VM's state while its guest stands still.
 *
 * The agent freezes every process first, so that a fork can take another identity before any of
 * them runs, and sends nothing after its answer, so that no frame is cut in two.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "codec/sha256.h"
#include "net/wire.h"
#include "supervisor/supervise.h"

#define SAVE_DEADLINE_MS INT64_C(120000)

/* A fork's saved state is removed when its client hangs up. */
struct forked {
	struct forked *next;
	uint64_t client_id;
	char name[64];
};

/* A client whose call runs in the guest would lose it. */
static int check_unused(const struct supervisor *s, struct mvm_error *err)
{
	const struct clients *c = &s->clients;
	bool used = false;
	for (unsigned i = 0; i < c->n_streams; i++) {
		if (c->streams[i].client)
			return mvm_error_set(err, -EBUSY,
					     "clients run commands in its guest, copy files or "
					     "wait for it, and would lose it: end them first");
		used |= c->streams[i].used;
	}
	if (!used)
		return 0;
	/* a client that hangs up cancels its calls, and a healthy agent ends them in a moment */
	int r = mvm_error_set(err, -EBUSY,
			      "its guest's agent does not answer, and has not ended what clients "
			      "that are gone did there");
	return mvm_error_reason(err, r, "vm-silent", s->record.name);
}

/* paused: it may be, since it is resumed first. */
static int check_may_save(const struct supervisor *s, const char *what, bool paused,
			  struct mvm_error *err)
{
	const struct record *rec = &s->record;
	const struct vmm_ops *ops = s->machine.vmm ? s->machine.vmm->ops : NULL;
	if (rec->purpose != RECORD_FOR_USER)
		return mvm_error_set(err, -EBUSY, "this VM is not a user's");
	if (s->machine.ended || !ops)
		return mvm_error_set(err, -EBUSY, "the VM is about to be started again");
	if (s->state != LIFE_UP && !(paused && s->state == LIFE_PAUSED)) {
		int r = mvm_error_set(err, -EBUSY, "it is %s", life_name(s->state));
		return s->state == LIFE_PAUSED ? mvm_error_reason(err, r, "vm-paused", rec->name)
					       : r;
	}
	if (!ops->save_devices)
		return mvm_error_set(err, -EOPNOTSUPP,
				     "backend %s cannot keep the state of a running VM, so it "
				     "cannot be %s",
				     ops->name, what);
	if (rec->no_agent || !rec->restore)
		return mvm_error_set(err, -EOPNOTSUPP,
				     "it has booted, and only a VM that was restored from a "
				     "snapshot can be %s",
				     what);
	return check_unused(s, err);
}

/* From here on nobody but us talks to the guest. */
static void fall_silent(struct supervisor *s)
{
	healthwatch_pause(&s->health);
	clocksync_stop(&s->clock);
	workload_forget(s);
	s->workload_untold = false; /* it is asked again */
	agent_client_hold(&s->machine.agent);
}

static void speak_again(struct supervisor *s)
{
	agent_client_release(&s->machine.agent);
	if (s->machine.ended)
		return;
	healthwatch_resume(&s->health);
	/* out of memory: the guest's clock stays behind, nothing worse */
	clocksync_start(&s->clock, s->loop, &s->machine.agent, 0);
	workload_watch(s);
}

/* A moment of the guest. */
struct moment {
	char nonce_sha256[DIGEST_HEX_SIZE];
	int frozen;	  /* what freeze() returned; -ENODATA: it was not called */
	int64_t began_ns; /* its processes stand still since then */
};

static int freeze(struct supervisor *s, struct moment *m, struct mvm_error *err)
{
	int r = machine_freeze(&s->machine, s->state == LIFE_SUSPENDING,
			       clock_deadline_ns(s->given->freeze_ms), m->nonce_sha256,
			       &m->began_ns, err);
	if (r == -EREMOTEIO && agent_client_refused(&s->machine.agent, EOPNOTSUPP))
		return mvm_error_set(err, -EOPNOTSUPP,
				     "the template's agent is of an older mvm: build the template "
				     "again and start a new VM");
	return r == -ETIMEDOUT ? mvm_error_reason(err, r, "vm-silent", s->record.name) : r;
}

/* Has somebody asked for the VM's end meanwhile, or has the client given up?  client_id: 0 if no
 * client has asked. */
static int check_goes_on(const struct supervisor *s, enum life_state now, uint64_t client_id,
			 struct mvm_error *err)
{
	if (s->machine.ended)
		return mvm_error_set(err, -EREMOTEIO, "the VM has ended");
	if (s->end || s->state != now)
		return mvm_error_set(err, -ECANCELED, "the VM is being stopped");
	return client_id && !clients_has(&s->clients, client_id)
		       ? mvm_error_cancelled(err, now == LIFE_FORKING ? "the fork" : "the suspend")
		       : 0;
}

/* Have the warden do work that may take minutes, part by part, and look in between whether it is
 * still wanted. */
static int do_parts(struct supervisor *s,
		    int (*part)(struct warden_link *l, bool disks, struct mvm_error *err),
		    bool disks, uint64_t client_id, struct mvm_error *err)
{
	enum life_state now = s->state;
	int r = check_goes_on(s, now, client_id, err);
	while (r == 0 && (r = part(&s->warden, disks, err)) > 0) {
		loop_run_once(s->loop, 0); /* handle what has happened, without a wait */
		r = check_goes_on(s, now, client_id, err);
	}
	return r;
}

/* Save the devices' state.  A VMM does not say that the disk is full: the warden looks again. */
static int save_devices(struct supervisor *s, int fd, int64_t deadline_ns, struct mvm_error *err)
{
	struct mvm_error why = { 0 };
	int r = vmm_save_devices(s->machine.vmm, fd, deadline_ns, err);
	if (r == 0 || s->machine.ended)
		return r;
	AUTO_CLOSE int again_fd = warden_save_begin(&s->warden, &why);
	return again_fd == -ENOSPC ? mvm_error_hand_on(err, &why) : r;
}

/* Freeze the guest, pause it, and copy what it can change while it runs, so that only that adds to
 * the pause. */
static int hold_still(struct supervisor *s, struct moment *m, uint64_t client_id,
		      struct mvm_error *err)
{
	int64_t deadline_ns = clock_deadline_ns(SAVE_DEADLINE_MS);
	bool disks = s->state == LIFE_FORKING; /* those of a suspended VM stay where they are */
	AUTO_CLOSE int fd = warden_save_begin(&s->warden, err);
	int r = fd < 0 ? fd : (m->frozen = freeze(s, m, err));
	if (r == 0)
		r = vmm_pause(s->machine.vmm, deadline_ns, err);
	if (r == 0)
		r = save_devices(s, fd, deadline_ns, err);
	return r < 0 ? r : do_parts(s, warden_save_copy, disks, client_id, err);
}

/* frozen: what freeze() returned.  An agent that refuses has frozen nothing.  After any other
 * failure it may have: its answer was lost here, is late, or makes no sense. */
static bool may_be_frozen(int frozen)
{
	return frozen != -ENODATA && frozen != -EREMOTEIO && frozen != -EOPNOTSUPP;
}

/*
 * Let the guest go on that was stopped for this; frozen: what freeze() returned.
 *
 * A guest that cannot go on is ended.  One that only does not answer in time is left: it has been
 * told, and does so when it runs again, on a busy host say.  So has one that may freeze itself
 * later.
 */
static int go_on(struct supervisor *s, int frozen, struct mvm_error *err)
{
	int64_t deadline_ns = clock_deadline_ns(s->given->freeze_ms);
	struct vmm *v = s->machine.vmm;
	int r = v && v->state == VMM_PAUSED ? vmm_resume(v, deadline_ns, err) : 0;
	bool resumed = r == 0;
	if (resumed && may_be_frozen(frozen) && !s->machine.ended)
		r = machine_thaw(&s->machine, false,
				 frozen == -ETIMEDOUT ? clock_deadline_ns(0) : deadline_ns, NULL,
				 err);
	if (resumed && r == -ETIMEDOUT)
		return r;
	if (r < 0 && !s->machine.ended) {
		fprintf(stderr, "mvm-supervisor: the guest does not go on: %s\n",
			err ? err->text : "");
		kill_vmm(s);
	}
	return r;
}

/* ---- suspend ---- */

int check_may_suspend(const struct supervisor *s, bool paused, struct mvm_error *err)
{
	const struct record *rec = &s->record;
	int r = check_may_save(s, "suspended", paused, err);
	if (r < 0)
		return r;
	if (rec->attached || rec->held)
		return mvm_error_set(err, -EOPNOTSUPP,
				     "it ends with the program that started it, so it cannot "
				     "outlive its VM");
	if (s->forked)
		return mvm_error_set(err, -EBUSY,
				     "its forks are starting from what was kept of it: try again");
	for (size_t i = 0; i < rec->n_volumes; i++) {
		if (rec->volumes[i].write_back)
			return mvm_error_set(err, -EOPNOTSUPP,
					     "its volume '%s' is copied back at its end, and a "
					     "suspended VM has no end",
					     rec->volumes[i].guest);
	}
	return 0;
}

int suspend_now(struct supervisor *s, uint64_t client_id, struct mvm_error *err)
{
	struct moment m = { .frozen = -ENODATA };
	forget_forked(s, false);
	int r = check_may_suspend(s, false, err);
	if (r < 0)
		return r;
	life_enter(s, LIFE_SUSPENDING);
	fall_silent(s);
	r = hold_still(s, &m, client_id, err);
	if (r == 0)
		r = do_parts(s, warden_save_read, true, client_id, err);
	if (r == 0)
		r = warden_save_suspend(&s->warden, m.nonce_sha256, err);
	s->suspended = r == 0;
	s->unfrozen = m.frozen < 0 && m.frozen != -ENODATA;
	if (r == 0)
		return 0;
	warden_save_drop(&s->warden, NULL);
	go_on(s, m.frozen, NULL);
	speak_again(s);
	life_leave(s, LIFE_SUSPENDING, LIFE_UP);
	return r;
}

/* On success, the job gets its answer when the VMM is gone. */
void suspend(struct supervisor *s, struct job *taken)
{
	AUTO(job) j = taken;
	struct mvm_error err = { 0 };
	if (suspend_now(s, j->client_id, &err) < 0) {
		answer(s, j, &err, NULL);
		return;
	}
	wait_for_end(s, TAKE_PTR(j));
}

/* ---- fork ---- */

static int note_forked(struct supervisor *s, uint64_t client_id, const char *name)
{
	struct forked *f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->client_id = client_id;
	snprintf(f->name, sizeof(f->name), "%s", name);
	f->next = s->forked;
	s->forked = f;
	return 0;
}

/* Remove the saved states of clients that have hung up. all: of every client. */
void forget_forked(struct supervisor *s, bool all)
{
	for (struct forked **at = &s->forked; *at;) {
		struct forked *f = *at;
		if (!all && clients_has(&s->clients, f->client_id)) {
			at = &f->next;
			continue;
		}
		warden_save_drop(&s->warden, f->name);
		*at = f->next;
		free(f);
	}
}

static int do_fork(struct supervisor *s, uint64_t client_id, char ret_name[64],
		   int64_t *ret_paused_ns, struct mvm_error *err)
{
	struct mvm_error why = { 0 };
	struct moment m = { .frozen = -ENODATA };
	int r = check_may_save(s, "forked", false, err);
	if (r < 0)
		return r;
	life_enter(s, LIFE_FORKING);
	fall_silent(s);
	r = hold_still(s, &m, client_id, err);
	int on = go_on(s, m.frozen, &why);
	*ret_paused_ns = m.frozen == 0 ? clock_now_ns() - m.began_ns : 0;
	if (r == 0 && on < 0)
		r = mvm_error_hand_on(err, &why);
	if (r == 0)
		r = do_parts(s, warden_save_read, false, client_id, err);
	if (r == 0)
		r = warden_save_fork(&s->warden, m.nonce_sha256, ret_name, err);
	else
		warden_save_drop(&s->warden, NULL);
	speak_again(s);
	life_leave(s, LIFE_FORKING, LIFE_UP);
	return r;
}

void fork_guest(struct supervisor *s, const struct job *j)
{
	AUTO_DONE(strbuf) fields = { 0 };
	struct mvm_error err = { 0 };
	char name[64] = "", text[64];
	int64_t paused_ns = 0;
	forget_forked(s, false);
	int r = do_fork(s, j->client_id, name, &paused_ns, &err);
	if (r == 0 && note_forked(s, j->client_id, name) < 0) {
		warden_save_drop(&s->warden, name);
		r = mvm_error_oom(&err);
	}
	wire_put_str(&fields, FIELD_NAME, name);
	wire_put_u64(&fields, FIELD_TIME_NS, (uint64_t)paused_ns);
	answer(s, j, r < 0 ? &err : NULL, r < 0 ? NULL : &fields);
	if (r < 0)
		return;
	snprintf(text, sizeof(text), "stood still for %.0f ms", (double)paused_ns / NS_PER_MS);
	tell(s, "forked", text);
	forget_forked(s, false); /* of a client that has not waited */
}

/* ---- continue ---- */

static int check_saved_nonce(const uint8_t nonce[NONCE_BYTES], const char *expected,
			     struct mvm_error *err)
{
	char actual[DIGEST_HEX_SIZE];
	struct mvm_digest digest;
	sha256_buf(nonce, NONCE_BYTES, &digest);
	digest_hex(&digest, actual);
	return str_eq(expected, actual)
		       ? 0
		       : mvm_error_set(err, -EBADMSG,
				       "the guest does not know what it knew when it was saved");
}

/* Let what the guest sends out.  A network that does not answer has ended, which is told. */
static void let_network_go(struct supervisor *s, int64_t deadline_ns)
{
	const struct vmm_network rules = network_rules(&s->revision, &s->record);
	struct mvm_error why = { 0 };
	if (s->revision.run.network != MVM_NETWORK_NONE &&
	    vmm_network_rules(s->machine.vmm, &rules, deadline_ns, &why) < 0)
		fprintf(stderr, "mvm-supervisor: the network stays held: %s\n", why.text);
}

/* Run the suspended guest.  Nobody hears of it until the state is taken, so until then whatever
 * ends us leaves a suspended VM. */
static int run_suspended(struct supervisor *s, const char *expected, int64_t deadline_ns,
			 struct mvm_error *err)
{
	uint8_t nonce[NONCE_BYTES];
	int r = machine_load(&s->machine, deadline_ns, err);
	if (r == 0)
		r = machine_continue(&s->machine, deadline_ns, nonce, err);
	if (r == 0)
		r = check_saved_nonce(nonce, expected, err);
	if (r == 0)
		r = warden_use_saved(&s->warden, USE_TAKE, err);
	if (r < 0)
		return r;
	s->suspended = false;
	s->taken = true;
	let_network_go(s, deadline_ns);
	return 0;
}

static int run_fork(struct supervisor *s, const char *expected, int64_t deadline_ns,
		    struct mvm_error *err)
{
	uint8_t nonce[NONCE_BYTES];
	int r = machine_restore(&s->machine, &s->revision.run, deadline_ns, nonce, err);
	return r < 0 ? r : check_saved_nonce(nonce, expected, err);
}

/* Bring up the saved state that the record names. */
int continue_guest(struct supervisor *s, int64_t deadline_ns, struct mvm_error *err)
{
	char expected[DIGEST_HEX_SIZE];
	bool fork = s->record.continues == RECORD_CONTINUES_FORK;
	int r = machine_map_memory(&s->machine, deadline_ns, err);
	if (r == 0)
		r = warden_load_saved(&s->warden, expected, err);
	if (r < 0)
		return r;
	r = fork ? run_fork(s, expected, deadline_ns, err)
		 : run_suspended(s, expected, deadline_ns, err);
	if (s->suspended)
		return r;
	warden_use_saved(&s->warden, USE_FORGET, NULL);
	s->record.continues = RECORD_CONTINUES_NOTHING;
	return r;
}
