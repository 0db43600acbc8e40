/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "model/run.h"
#include "net/wire.h"
#include "supervisor/lastwords.h"
#include "supervisor/machine_fields.h"
#include "supervisor/supervise.h"

#define START_DEADLINE_MS INT64_C(120000) /* includes on_restore */
#define DRAIN_MS	  500
#define POWER_OFF_MS	  2000 /* for a guest to kill its processes, sync and power off */

void machine_stage(struct machine *m, const char *name, int64_t at_ns)
{
	if (m->n_stages < MACHINE_STAGES_MAX)
		m->stages[m->n_stages++] = (struct machine_stage){ name, at_ns - m->began_ns };
}

static void on_vmm_ended(void *arg, int status)
{
	struct machine *m = arg;
	m->ended = true;
	m->exit_status = status;
}

static void on_log(void *arg, const struct frame *f)
{
	struct machine *m = arg;
	logfile_add(&m->workload_log, f->payload, f->len);
}

static int on_agent(void *arg, int fd)
{
	struct machine *m = arg;
	return fd < 0 ? agent_client_move_back(&m->agent, m->loop)
		      : agent_client_move(&m->agent, m->loop, fd);
}

/* Add the guest's last output to the error of a wait. */
static int with_console(struct machine *m, int r, struct mvm_error *err)
{
	if (!err)
		return r;
	const char *console = console_tail(&m->console); /* reads the newest output, too */
	const char *panic = panic_watch_text(&m->console.panic);
	size_t len = strlen(err->text);
	struct mvm_error why;
	/* a panic's trace is longer than the console's tail, which may lack its first line */
	if (panic)
		snprintf(err->text + len, sizeof(err->text) - len,
			 "; the guest's kernel panicked: %s", panic);
	else if (m->ended && machine_check_end(m, &why) < 0)
		snprintf(err->text + len, sizeof(err->text) - len, "; %s", why.text);
	last_words(err, console, logfile_tail(&m->workload_log));
	return r;
}

/* The guest refused its identity.  Every other clone would refuse it, too, so no caller may fall
 * back to another kind of start and hide the fault. */
static int refused(struct machine *m, int r, struct mvm_error *err)
{
	bool said_no = r == -EREMOTEIO && !m->ended && !m->agent.broken[0];
	if (said_no && err)
		err->code = -EIO;
	return with_console(m, said_no ? -EIO : r, err);
}

void machine_begin(struct machine *m, struct loop *loop, struct warden_link *warden)
{
	*m = (struct machine){
		.loop = loop, .warden = warden, .source_fd = -1, .began_ns = clock_now_ns()
	};
}

static int renew_console_log(void *arg)
{
	const struct machine *m = arg;
	return warden_new_log(m->warden, WARDEN_CONSOLE_LOG);
}

static int renew_workload_log(void *arg)
{
	const struct machine *m = arg;
	return warden_new_log(m->warden, WARDEN_WORKLOAD_LOG);
}

static int take_channels(struct machine *m, struct warden_started *s, uint64_t log_max_bytes)
{
	m->agent.on_log = on_log;
	m->agent.log_arg = m;
	int r = agent_client_init(&m->agent, m->loop, TAKE_FD(s->agent_fd));
	logfile_take(&m->console.log, TAKE_FD(s->log_fds[WARDEN_CONSOLE_LOG]), log_max_bytes,
		     renew_console_log, m);
	logfile_take(&m->workload_log, TAKE_FD(s->log_fds[WARDEN_WORKLOAD_LOG]), log_max_bytes,
		     renew_workload_log, m);
	m->console.log.on_add = m->workload_log.on_add = m->on_logged;
	m->console.log.arg = m->workload_log.arg = m->logged_arg;
	return r < 0 ? r : console_init(&m->console, m->loop, TAKE_FD(s->console_fd));
}

/* The VMM runs in the warden's care: talk to it. */
static int attach(struct machine *m, const struct vmm_ops *ops, const struct record *rec,
		  const struct mvm_template_revision *revision, struct warden_started *s,
		  int64_t deadline_ns, struct mvm_error *err)
{
	struct vmm_config config = vmm_description(rec, revision);
	config.on_agent = on_agent;
	config.on_agent_arg = m;
	const struct vmm_keeper keeper = warden_keeper(m->warden);
	return vmm_attach(ops, &config, &s->ends, &keeper, m->loop, deadline_ns, &m->vmm, err);
}

/* A backend without two halves: here is the warden, too. */
static int spawn(struct machine *m, const struct vmm_ops *ops, int64_t deadline_ns,
		 struct mvm_error *err)
{
	struct warden *w = m->warden->here;
	w->config.on_agent = on_agent;
	w->config.on_agent_arg = m;
	int r = vmm_spawn(ops, &w->probe, &w->config, m->loop, deadline_ns, &m->vmm, err);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(w->theirs); i++) /* or their end would not be seen */
		close(TAKE_FD(w->theirs[i]));
	if (r == 0)
		warden_note_vmm(w, m->vmm->process.pid, m->vmm->isolation);
	return r;
}

int machine_meet(struct machine *m, const struct vmm_ops *ops, struct record *rec,
		 const struct mvm_template_revision *revision, struct warden_started *started,
		 int64_t deadline_ns, struct mvm_error *err)
{
	snprintf(m->hostname, sizeof(m->hostname), "%s", rec->name);
	rec->memory = started->memory;
	if (started->copied_ns)
		machine_stage(m, "copy", started->copied_ns);
	int r = take_channels(m, started, rec->log_max_bytes);
	if (r < 0)
		return mvm_error_set(err, r, "cannot watch the guest: %s", strerror(-r));
	r = started->apart ? attach(m, ops, rec, revision, started, deadline_ns, err)
			   : spawn(m, ops, deadline_ns, err);
	if (r < 0)
		return r;
	vmm_on_ended(m->vmm, on_vmm_ended, m);
	m->ended = m->vmm->state == VMM_ENDED; /* it may have ended before we watched it */
	machine_stage(m, "spawn", m->vmm->spawned_ns);
	return 0;
}

int machine_spawn(struct machine *m, const struct vmm_ops *ops, struct record *rec,
		  const struct mvm_template_revision *revision, int64_t deadline_ns,
		  struct mvm_error *err)
{
	AUTO_DONE(warden_started) started = { 0 };
	int r = warden_start(m->warden, &started, err);
	return r < 0 ? r : machine_meet(m, ops, rec, revision, &started, deadline_ns, err);
}

/* Has the guest left its workload out, if it should? */
static int check_left_out(const struct machine *m, const struct strbuf *reply,
			  struct mvm_error *err)
{
	struct wire_field field;
	if (!m->no_workload || wire_find(reply->data, reply->len, FIELD_NO_WORKLOAD, &field) > 0)
		return 0;
	return mvm_error_set(err, -EOPNOTSUPP,
			     "the revision's agent is of an older mvm and starts its workload all "
			     "the same: build the template again");
}

static bool take_hold(const struct strbuf *reply)
{
	struct wire_field field;
	return wire_find(reply->data, reply->len, FIELD_HOLD, &field) > 0;
}

static int configure(struct machine *m, const struct mvm_run *run, int64_t deadline_ns,
		     struct mvm_error *err)
{
	AUTO_DONE(strbuf) args = { 0 };
	AUTO_DONE(strbuf) reply = { 0 };

	machine_put_identity(m, run, &args);
	machine_put_workload(m, run, &args);
	machine_put_start(m, &args);
	int r = agent_client_call(&m->agent, m->loop, CALL_CONFIGURE, "configuring the guest",
				  &args, &m->ended, deadline_ns, &reply, err);
	m->held = r == 0 && take_hold(&reply);
	return r < 0 ? with_console(m, r, err) : check_left_out(m, &reply, err);
}

/* Run before_workload, then start the workload.  An agent of an earlier version cannot hold the
 * workload back: there it runs already. */
static int let_go(struct machine *m, struct mvm_error *err)
{
	int64_t deadline_ns;
	if (!m->before_workload)
		return 0;
	int r = m->before_workload(m->before_arg, err);
	if (r < 0 && agent_client_await_end(&m->agent, m->loop, &m->ended, DEADLINE_NONE))
		return with_console(m, r, err);
	if (r < 0)
		return r;
	machine_stage(m, "volumes", clock_now_ns());
	if (!m->held)
		return 0;
	deadline_ns = clock_deadline_ns(START_DEADLINE_MS);
	r = agent_client_call(&m->agent, m->loop, CALL_START, "starting the workload", NULL,
			      &m->ended, deadline_ns, NULL, err);
	return r < 0 ? refused(m, r, err) : 0;
}

/* Wait until the guest is healthy, or its workload has ended and the VM follows it.  The agent
 * makes the attempts.  We wait a little longer than the agent does, for its last answer. */
static int wait_healthy(struct machine *m, const struct mvm_run *run, struct mvm_error *err)
{
	const struct mvm_health *health = &run->health;
	AUTO_DONE(strbuf) args = { 0 };

	if (health->kind == MVM_HEALTH_AGENT) {
		machine_stage(m, "healthy", clock_now_ns());
		return 0;
	}
	uint32_t interval_ms = health->interval_ms ? health->interval_ms : MVM_HEALTH_INTERVAL_MS;
	uint32_t timeout_s = health->timeout_s ? health->timeout_s : MVM_HEALTH_TIMEOUT_S;
	machine_put_health(health, interval_ms, (uint64_t)timeout_s * 1000, &args);

	char what[64];
	snprintf(what, sizeof(what), "the guest did not become healthy (deadline %u s)", timeout_s);
	int64_t deadline_ns = clock_deadline_ns((int64_t)timeout_s * 1000 + 10000);
	int r = agent_client_call(&m->agent, m->loop, CALL_HEALTH, what, &args, &m->ended,
				  deadline_ns, NULL, err);
	m->ended_early = r == -EREMOTEIO && m->follows && agent_client_refused(&m->agent, ESRCH);
	if (m->ended_early)
		return 0;
	if (r == 0)
		machine_stage(m, "healthy", clock_now_ns());
	return r;
}

/* Wait for the agent's greeting.  A guest that prints gets on with its boot, however slow its host
 * is, so each output gives it more time. */
static int wait_greeting(struct machine *m, int64_t silent_ms, int64_t max_ms,
			 struct mvm_error *err)
{
	int64_t last_ns = m->began_ns + max_ms * NS_PER_MS;
	int64_t deadline_ns = 0, longer_ns = m->began_ns + silent_ms * NS_PER_MS;
	int r = -ETIMEDOUT;
	while (r == -ETIMEDOUT && longer_ns > deadline_ns) {
		deadline_ns = longer_ns;
		r = agent_client_wait_hello(&m->agent, m->loop, &m->ended, deadline_ns, err);
		longer_ns = m->console.heard_ns + silent_ms * NS_PER_MS;
		if (longer_ns > last_ns)
			longer_ns = last_ns;
	}
	return r;
}

int machine_boot(struct machine *m, const struct mvm_run *run, int64_t silent_ms, int64_t max_ms,
		 struct mvm_error *err)
{
	int r = vmm_boot(m->vmm, clock_deadline_ns(silent_ms), err);
	if (r < 0)
		return r;
	m->no_agent = run->initrd == MVM_INITRD_IMAGE;
	if (m->no_agent) {
		machine_stage(m, "boot", clock_now_ns());
		return 0;
	}
	r = wait_greeting(m, silent_ms, max_ms, err);
	if (r < 0)
		return with_console(m, r, err);
	machine_stage(m, "kernel", clock_now_ns());
	r = configure(m, run, clock_deadline_ns(silent_ms), err);
	if (r < 0)
		return r;
	machine_stage(m, "agent", clock_now_ns());
	if (m->stop_at_boot)
		return m->held ? 0
			       : mvm_error_set(err, -EOPNOTSUPP,
					       "the revision's agent is of an older mvm and cannot "
					       "hold the workload back");
	r = let_go(m, err);
	if (r < 0)
		return r;
	r = wait_healthy(m, run, err);
	return r < 0 ? with_console(m, r, err) : 0;
}

int machine_take_nonce(const struct strbuf *reply, uint8_t ret[NONCE_BYTES], struct mvm_error *err)
{
	struct wire_field field;
	if (wire_find(reply->data, reply->len, FIELD_NONCE, &field) <= 0 ||
	    field.len != NONCE_BYTES)
		return mvm_error_set(err, -EPROTO, "the agent's answer has no nonce");
	memcpy(ret, field.data, NONCE_BYTES);
	return 0;
}

/* The folder of the device state, in a process that may open it. */
static int state_dir(const struct machine *m, bool create)
{
	const struct warden *w = m->warden->here;
	if (!w)
		return -1;
	return create ? w->given->fd[SUPERVISOR_FD_CAPTURE] : w->memory_dir_fd;
}

int machine_map_memory(struct machine *m, int64_t deadline_ns, struct mvm_error *err)
{
	return vmm_map_memory(m->vmm, state_dir(m, false), deadline_ns, err);
}

int machine_load(struct machine *m, int64_t deadline_ns, struct mvm_error *err)
{
	int r = vmm_restore(m->vmm, state_dir(m, false), deadline_ns, err);
	if (r < 0)
		return machine_explain_kill(m, r, err);
	machine_stage(m, "load", m->vmm->loaded_ns);
	machine_stage(m, "resume", m->vmm->resumed_ns);
	return 0;
}

/* Wait until a workload that has just started in a clone is healthy. */
static int wait_started(struct machine *m, const struct mvm_run *run, struct mvm_error *err)
{
	int r = wait_healthy(m, run, err);
	return r < 0 ? refused(m, r, err) : 0;
}

/* Give the clone an identity.  call: CALL_RESTORED, or CALL_REHEARSE with a throw-away identity. */
static int identify(struct machine *m, unsigned call, const struct mvm_run *run,
		    int64_t deadline_ns, uint8_t ret_nonce[NONCE_BYTES], struct mvm_error *err)
{
	AUTO_DONE(strbuf) args = { 0 };
	AUTO_DONE(strbuf) reply = { 0 };
	machine_put_identity(m, run, &args);
	if (call == CALL_RESTORED)
		machine_put_start(m, &args);
	if (call == CALL_RESTORED && run_starts_in_clone(run))
		machine_put_env(m, run, &args);
	const char *what = run_starts_in_clone(run) ? "giving the clone its identity and workload"
						    : "giving the clone its identity";
	int r = agent_client_call(&m->agent, m->loop, call, what, &args, &m->ended, deadline_ns,
				  &reply, err);
	if (r < 0 && m->ended && (run->on_restore.n > 0 || run_starts_in_clone(run))) {
		/* the user's own command may have ended the guest: a boot would hide that */
		r = -EIO;
		if (err)
			err->code = r;
	}
	if (r < 0)
		return refused(m, r, err);
	m->held = take_hold(&reply);
	if (call == CALL_RESTORED)
		machine_stage(m, "agent", clock_now_ns());
	r = machine_take_nonce(&reply, ret_nonce, err);
	if (r == 0 && call == CALL_RESTORED)
		r = check_left_out(m, &reply, err);
	if (r == 0 && call == CALL_RESTORED)
		r = let_go(m, err);
	return r == 0 && call == CALL_RESTORED && run_starts_in_clone(run)
		       ? wait_started(m, run, err)
		       : r;
}

/* Rehearse in the clone that tests a snapshot, so that what a first command needs is in the working
 * set.  An agent of an older version cannot. */
static int rehearse(struct machine *m, const struct mvm_run *run, int64_t deadline_ns,
		    uint8_t nonce[NONCE_BYTES], struct mvm_error *err)
{
	int r = identify(m, CALL_REHEARSE, run, deadline_ns, nonce, err);
	return r < 0 && agent_client_refused(&m->agent, EOPNOTSUPP) ? 0 : r;
}

int machine_restore(struct machine *m, const struct mvm_run *run, int64_t deadline_ns,
		    uint8_t ret_nonce[NONCE_BYTES], struct mvm_error *err)
{
	int r = machine_load(m, deadline_ns, err);
	if (r == 0 && m->rehearses)
		r = rehearse(m, run, deadline_ns, ret_nonce, err);
	return r < 0 ? r : identify(m, CALL_RESTORED, run, deadline_ns, ret_nonce, err);
}

int machine_stand_by(struct machine *m, const struct mvm_run *run, int64_t deadline_ns,
		     uint8_t ret_nonce[NONCE_BYTES], struct mvm_error *err)
{
	int r = machine_load(m, deadline_ns, err);
	if (r == 0)
		r = identify(m, CALL_REHEARSE, run, deadline_ns, ret_nonce, err);
	if (r < 0)
		return r;
	r = vmm_pause(m->vmm, deadline_ns, err);
	return machine_explain_kill(m, r, err);
}

int machine_awake(struct machine *m, const char *hostname, const struct mvm_run *run,
		  const struct vmm_forward *forwards, size_t n_forwards, int64_t deadline_ns,
		  uint8_t ret_nonce[NONCE_BYTES], struct mvm_error *err)
{
	m->n_stages = 0;
	snprintf(m->hostname, sizeof(m->hostname), "%s", hostname);
	int r = 0;
	for (size_t i = 0; i < n_forwards && r == 0; i++)
		r = vmm_forward(m->vmm, &forwards[i], deadline_ns, err);
	if (r == 0)
		r = vmm_resume(m->vmm, deadline_ns, err);
	if (r < 0)
		return machine_explain_kill(m, r, err);
	machine_stage(m, "resume", m->vmm->resumed_ns);
	return identify(m, CALL_RESTORED, run, deadline_ns, ret_nonce, err);
}

int machine_capture(struct machine *m, int64_t deadline_ns, uint8_t ret_nonce[NONCE_BYTES],
		    int64_t *ret_prepare_ns, struct mvm_error *err)
{
	AUTO_DONE(strbuf) args = { 0 };
	AUTO_DONE(strbuf) reply = { 0 };
	int64_t began_ns = clock_now_ns();
	wire_put_u64(&args, FIELD_MEMORY_BYTES, warden_touched_bytes(m->warden));
	m->agent.quiet = true;
	int r = agent_client_call(&m->agent, m->loop, CALL_PREPARE, "preparing the guest", &args,
				  &m->ended, deadline_ns, &reply, err);
	if (r == 0)
		r = machine_take_nonce(&reply, ret_nonce, err);
	m->agent.quiet = r == 0;
	if (r < 0)
		return with_console(m, r, err);
	*ret_prepare_ns = clock_now_ns() - began_ns;
	r = vmm_pause(m->vmm, deadline_ns, err);
	return r < 0 ? r : vmm_snapshot(m->vmm, state_dir(m, true), deadline_ns, err);
}

/* Ask the guest to power off.  The workload gets most of the time; a reserve is for the guest's
 * sync and power-off. */
static int ask_to_end(struct machine *m, int64_t deadline_ns, struct mvm_error *err)
{
	AUTO_DONE(strbuf) args = { 0 };
	int64_t left_ms = clock_remaining_ms(deadline_ns);
	int64_t reserve_ms = left_ms / 4 < POWER_OFF_MS ? left_ms / 4 : POWER_OFF_MS;

	if (m->no_agent)
		return vmm_power_button(m->vmm, deadline_ns, err);
	if (m->agent.broken[0])
		return -EPIPE; /* it cannot be asked: do not wait for its end */
	wire_put_u64(&args, FIELD_TIMEOUT_MS, (uint64_t)(left_ms - reserve_ms));
	return agent_client_call(&m->agent, m->loop, CALL_SHUTDOWN, "shutting down", &args,
				 &m->ended, deadline_ns, NULL, err);
}

void machine_shutdown(struct machine *m, int64_t deadline_ns)
{
	if (!m->vmm || m->ended)
		return;
	/* machine_free() kills a guest that cannot be asked or does not answer */
	if (m->vmm->state != VMM_RUNNING)
		return;
	if (ask_to_end(m, deadline_ns, NULL) < 0) {
		int64_t soon_ns = clock_deadline_ns(POWER_OFF_MS);
		agent_client_await_end(&m->agent, m->loop, &m->ended,
				       soon_ns < deadline_ns ? soon_ns : deadline_ns);
		return;
	}
	while (!m->ended && loop_run_once(m->loop, deadline_ns) == 0)
		;
}

void machine_drain(struct machine *m)
{
	int64_t deadline_ns = clock_deadline_ns(DRAIN_MS);
	while (m->ended && (m->console.source || (m->agent.source && !m->agent.broken[0])) &&
	       loop_run_once(m->loop, deadline_ns) == 0)
		;
}

void machine_free(struct machine *m)
{
	vmm_free(TAKE_PTR(m->vmm));
	agent_client_done(&m->agent);
	console_done(&m->console);
	logfile_close(&m->workload_log);
}
