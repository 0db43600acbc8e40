/* SPDX-License-Identifier: Apache-2.0 */
/* The supervisor's questions to its warden. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "net/wire.h"
#include "supervisor/warden.h"
#include "supervisor/warden_ask.h"

#define CODE_MIN (-4095)

static char *text_of(const struct line_message *m, uint16_t tag)
{
	struct wire_field field;
	char *text = NULL;
	if (wire_find(m->fields.data, m->fields.len, tag, &field) > 0)
		wire_get_str(&field, &text);
	return text;
}

/* Returns 0 or more, or the error that the warden describes. */
static int ask(struct warden_link *l, struct line_message *question, struct line_message *ret,
	       struct mvm_error *err)
{
	int r = 0;
	if (l->fd < 0) {
		warden_answer(l->here, question, ret);
	} else {
		r = line_send(l->fd, -1, question);
		if (r == 0)
			r = line_receive(l->fd, ret);
	}
	line_message_done(question);
	if (r < 0)
		return mvm_error_set(err, r, "the supervisor's other process does not answer: %s",
				     strerror(-r));
	if (ret->what >= 0)
		return 0;
	r = ret->what < CODE_MIN ? -EPROTO : ret->what;
	AUTO_FREE char *text = text_of(ret, TAG_TEXT), *reason = text_of(ret, TAG_REASON);
	mvm_error_set(err, r, "%s", text ? text : strerror(-r));
	return reason && *reason ? mvm_error_reason(err, r, reason, NULL) : r;
}

static struct line_message question(int32_t what)
{
	return (struct line_message){ .what = what };
}

static struct line_message question_about(int32_t what, uint64_t number)
{
	struct line_message q = question(what);
	wire_put_u64(&q.fields, TAG_NUMBER, number);
	return q;
}

/* Ask a question whose only answer is success or an error. */
static int ask_only(struct warden_link *l, struct line_message q, struct mvm_error *err)
{
	AUTO_DONE(line_message) reply = { 0 };
	return ask(l, &q, &reply, err);
}

static int take_fd(struct line_message *m, uint32_t i)
{
	if (i >= m->n_fds)
		return -1;
	return TAKE_FD(m->fds[i]);
}

/* Ask for a descriptor. */
static int ask_fd(struct warden_link *l, struct line_message q, struct mvm_error *err)
{
	AUTO_DONE(line_message) reply = { 0 };
	int r = ask(l, &q, &reply, err);
	if (r < 0)
		return r;
	int fd = take_fd(&reply, 0);
	return fd < 0 ? mvm_error_set(err, -EPROTO, "an answer without a file") : fd;
}

static uint64_t number_of(const struct line_message *m, uint16_t tag)
{
	uint64_t number = 0;
	wire_find_u64(m->fields.data, m->fields.len, tag, UINT64_MAX, &number);
	return number;
}

/* ---- the VMM ---- */

void warden_started_done(struct warden_started *s)
{
	auto_close(&s->agent_fd);
	auto_close(&s->console_fd);
	for (size_t i = 0; i < WARDEN_LOGS; i++)
		auto_close(&s->log_fds[i]);
	vmm_ends_done(&s->ends);
	s->agent_fd = s->console_fd = s->log_fds[0] = s->log_fds[1] = -1;
}

int warden_start(struct warden_link *l, struct warden_started *ret, struct mvm_error *err)
{
	AUTO_DONE(line_message) reply = { 0 };
	struct line_message q = question(ASK_START);
	*ret = (struct warden_started){
		.agent_fd = -1, .console_fd = -1, .log_fds = { -1, -1 }, .ends = VMM_ENDS_NONE
	};
	int r = ask(l, &q, &reply, err);
	if (r < 0)
		return r;
	uint64_t mask = number_of(&reply, TAG_ENDS);
	uint32_t n = 0;
	ret->agent_fd = take_fd(&reply, n++);
	ret->console_fd = take_fd(&reply, n++);
	for (size_t i = 0; i < WARDEN_LOGS; i++)
		ret->log_fds[i] = take_fd(&reply, n++);
	for (size_t i = 0; i < VMM_ENDS; i++) {
		if (mask & 1u << i)
			ret->ends.fd[i] = take_fd(&reply, n++);
	}
	ret->apart = mask != 0;
	ret->ends.pid = (int64_t)number_of(&reply, TAG_PID);
	ret->ends.isolation = (unsigned)number_of(&reply, TAG_ISOLATION);
	ret->memory = (enum record_memory)number_of(&reply, TAG_MEMORY);
	ret->copied_ns = (int64_t)number_of(&reply, TAG_COPIED_NS);
	return 0;
}

static int keeper_seal(void *arg, struct mvm_error *err)
{
	return ask_only(arg, question(ASK_SEAL), err);
}

static int keeper_reap(void *arg, int *ret_status)
{
	AUTO_DONE(line_message) reply = { 0 };
	struct line_message q = question(ASK_REAP);
	int r = ask(arg, &q, &reply, NULL);
	if (r == 0)
		*ret_status = (int)number_of(&reply, TAG_NUMBER);
	return r;
}

static int keeper_open_state(void *arg, bool create)
{
	return ask_fd(arg, question_about(ASK_OPEN_STATE, create), NULL);
}

static void keeper_take_back(void *arg)
{
	ask_only(arg, question(ASK_TAKE_BACK), NULL); /* see own_uid_take_back() */
}

static void keeper_kill(void *arg)
{
	ask_only(arg, question(ASK_KILL), NULL); /* if the warden is gone, the VMM is gone too */
}

static void keeper_end(void *arg)
{
	warden_put_away(arg);
}

static int keeper_start_network(void *arg, int *ret_control_fd, struct mvm_error *err)
{
	AUTO_DONE(line_message) reply = { 0 };
	struct line_message q = question(ASK_START_NETWORK);
	int r = ask(arg, &q, &reply, err);
	if (r < 0)
		return r;
	*ret_control_fd = take_fd(&reply, 0);
	return *ret_control_fd < 0 ? -EPROTO : 0;
}

static int keeper_seal_network(void *arg, struct mvm_error *err)
{
	return ask_only(arg, question(ASK_SEAL_NETWORK), err);
}

static int keeper_connect(void *arg)
{
	return ask_fd(arg, question(ASK_CONNECT), NULL);
}

static int keeper_halt(void *arg, enum vmm_halt how)
{
	return ask_only(arg, question_about(ASK_HALT, how), NULL);
}

/* Without an answer nothing is captured either. */
static bool keeper_host_swaps(void *arg)
{
	AUTO_DONE(line_message) reply = { 0 };
	struct line_message q = question(ASK_HOST_SWAPS);
	return ask(arg, &q, &reply, NULL) < 0 || number_of(&reply, TAG_NUMBER);
}

static int keeper_move_state(void *arg, bool store, struct mvm_error *err)
{
	return ask_only(arg, question_about(ASK_MOVE_STATE, store), err);
}

static int keeper_open_port(void *arg, const struct vmm_forward *forward, struct mvm_error *err)
{
	struct line_message q = question(ASK_OPEN_PORT);
	wire_put_bytes(&q.fields, TAG_FORWARDS, forward, sizeof(*forward));
	return ask_only(arg, q, err);
}

static void put_rules(struct strbuf *b, uint16_t tag, char *const *rules, size_t n)
{
	for (size_t i = 0; i < n; i++)
		wire_put_str(b, tag, rules[i]);
}

static int keeper_set_rules(void *arg, const struct vmm_network *rules, struct mvm_error *err)
{
	struct line_message q = question(ASK_SET_RULES);
	put_rules(&q.fields, TAG_ALLOW, rules->allow, rules->n_allow);
	put_rules(&q.fields, TAG_DENY, rules->deny, rules->n_deny);
	return ask_only(arg, q, err);
}

struct vmm_keeper warden_keeper(struct warden_link *l)
{
	return (struct vmm_keeper){
		.seal = keeper_seal,
		.reap = keeper_reap,
		.open_state = keeper_open_state,
		.take_back = keeper_take_back,
		.kill = keeper_kill,
		.end = keeper_end,
		.start_network = keeper_start_network,
		.seal_network = keeper_seal_network,
		.connect = keeper_connect,
		.halt = keeper_halt,
		.host_swaps = keeper_host_swaps,
		.move_state = keeper_move_state,
		.open_port = keeper_open_port,
		.set_rules = keeper_set_rules,
		.arg = l,
	};
}

void warden_forget_memory(struct warden_link *l)
{
	/* if it stays, the instance's removal takes it */
	ask_only(l, question(ASK_FORGET_MEMORY), NULL);
}

void warden_why_killed(struct warden_link *l, int signal, char ret[WHY_KILLED_SIZE])
{
	AUTO_DONE(line_message) reply = { 0 };
	struct line_message q = question_about(ASK_WHY_KILLED, (uint64_t)signal);
	int r = ask(l, &q, &reply, NULL);
	AUTO_FREE char *text = r < 0 ? NULL : text_of(&reply, TAG_TEXT);
	snprintf(ret, WHY_KILLED_SIZE, "%s", text ? text : "");
}

void warden_put_away(struct warden_link *l)
{
	ask_only(l, question(ASK_PUT_AWAY), NULL); /* as for keeper_kill() */
}

int warden_new_log(struct warden_link *l, enum warden_log log)
{
	AUTO_DONE(line_message) reply = { 0 };
	struct line_message q = question_about(ASK_NEW_LOG, log);
	int r = ask(l, &q, &reply, NULL);
	return r < 0 ? r : take_fd(&reply, 0);
}

int warden_capture_disks(struct warden_link *l, struct mvm_error *err)
{
	return ask_only(l, question(ASK_CAPTURE_DISKS), err);
}

uint64_t warden_touched_bytes(struct warden_link *l)
{
	AUTO_DONE(line_message) reply = { 0 };
	struct line_message q = question(ASK_TOUCHED_BYTES);
	return ask(l, &q, &reply, NULL) < 0 ? 0 : number_of(&reply, TAG_NUMBER);
}

/* ---- the record ---- */

void warden_save(struct warden_link *l, const struct record *rec)
{
	struct line_message q = question(ASK_SAVE);
	const uint64_t numbers[RECORD_NUMBERS] = {
		[NUMBER_STATE] = rec->state,
		[NUMBER_HEALTH] = rec->health,
		[NUMBER_RESTARTS] = rec->restarts,
		[NUMBER_EXIT_CODE] = rec->exit_code,
		[NUMBER_HAS_EXIT_CODE] = rec->has_exit_code,
		[NUMBER_WORKLOAD_ENDED] = rec->workload_ended,
		[NUMBER_STOPPING] = rec->stopping,
		[NUMBER_HELD] = rec->held,
		[NUMBER_NETWORK_REFUSED] = rec->network_refused,
		[NUMBER_VOLUMES_LOST] = rec->volumes_lost,
		[NUMBER_TTL_MS] = (uint64_t)rec->ttl_ms,
	};
	for (unsigned i = 0; i < RECORD_NUMBERS; i++)
		wire_put_u64(&q.fields, (uint16_t)(TAG_RECORD_NUMBERS + i), numbers[i]);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(record_texts); i++)
		wire_put_str(&q.fields, (uint16_t)(TAG_RECORD_TEXTS + i),
			     *record_text((struct record *)rec, i));
	for (size_t i = 0; i < rec->n_stages; i++) {
		wire_put_str(&q.fields, TAG_STAGE, rec->stages[i].name);
		wire_put_u64(&q.fields, TAG_STAGE_NS, (uint64_t)rec->stages[i].ns);
	}
	for (size_t i = 0; i < rec->n_network_refusals; i++) {
		const struct record_refusal *refusal = &rec->network_refusals[i];
		wire_put_str(&q.fields, TAG_REFUSAL, refusal->target);
		wire_put_u64(&q.fields, TAG_REFUSAL_PORT, refusal->port);
		wire_put_u64(&q.fields, TAG_REFUSAL_COUNT, refusal->count);
		wire_put_str(&q.fields, TAG_REFUSAL_PROTOCOL, refusal->protocol);
		wire_put_str(&q.fields, TAG_REFUSAL_REASON, refusal->reason);
		wire_put_str(&q.fields, TAG_REFUSAL_AT, refusal->last_at);
	}
	ask_only(l, q, NULL); /* see save_record() */
}

int warden_rules(struct warden_link *l, const char *json, struct mvm_error *err)
{
	struct line_message q = question(ASK_RULES);
	wire_put_str(&q.fields, TAG_TEXT, json);
	return ask_only(l, q, err);
}

void warden_tell(struct warden_link *l, const char *event, const char *message)
{
	struct line_message q = question(ASK_TELL);
	wire_put_str(&q.fields, TAG_EVENT, event);
	wire_put_str(&q.fields, TAG_TEXT, message);
	ask_only(l, q, NULL); /* the event is lost, as events.h says */
}

void warden_confine(struct warden_link *l, struct record *rec)
{
	AUTO_DONE(line_message) reply = { 0 };
	struct line_message q = question(ASK_CONFINE);
	if (ask(l, &q, &reply, NULL) < 0)
		return; /* it has none, then */
	free(rec->cgroup);
	free(rec->cgroup_limits);
	rec->cgroup = text_of(&reply, TAG_CGROUP);
	rec->cgroup_limits = text_of(&reply, TAG_LIMITS);
}

/* ---- saved state ---- */

int warden_save_begin(struct warden_link *l, struct mvm_error *err)
{
	return ask_fd(l, question(ASK_SAVE_BEGIN), err);
}

/* ret: the answer's text; may be NULL. */
static int ask_text(struct warden_link *l, struct line_message q, char *ret, size_t size,
		    struct mvm_error *err)
{
	AUTO_DONE(line_message) reply = { 0 };
	int r = ask(l, &q, &reply, err);
	AUTO_FREE char *text = r < 0 ? NULL : text_of(&reply, TAG_TEXT);
	if (r == 0 && ret)
		snprintf(ret, size, "%s", text ? text : "");
	return r;
}

/* 1: there is more */
static int ask_part(struct warden_link *l, enum warden_saved_question what, bool disks,
		    struct mvm_error *err)
{
	AUTO_DONE(line_message) reply = { 0 };
	struct line_message q = question_about(what, disks);
	int r = ask(l, &q, &reply, err);
	return r < 0 ? r : number_of(&reply, TAG_NUMBER) != 0;
}

int warden_save_copy(struct warden_link *l, bool disks, struct mvm_error *err)
{
	return ask_part(l, ASK_SAVE_COPY, disks, err);
}

int warden_save_read(struct warden_link *l, bool disks, struct mvm_error *err)
{
	return ask_part(l, ASK_SAVE_READ, disks, err);
}

int warden_save_suspend(struct warden_link *l, const char *nonce_sha256, struct mvm_error *err)
{
	struct line_message q = question(ASK_SAVE_SUSPEND);
	wire_put_str(&q.fields, TAG_TEXT, nonce_sha256);
	return ask_only(l, q, err);
}

int warden_save_fork(struct warden_link *l, const char *nonce_sha256, char ret_name[64],
		     struct mvm_error *err)
{
	struct line_message q = question(ASK_SAVE_FORK);
	wire_put_str(&q.fields, TAG_TEXT, nonce_sha256);
	return ask_text(l, q, ret_name, 64, err);
}

void warden_save_drop(struct warden_link *l, const char *name)
{
	struct line_message q = question(ASK_SAVE_DROP);
	if (name)
		wire_put_str(&q.fields, TAG_TEXT, name);
	ask_only(l, q, NULL); /* if it stays, the sweep after the VM's end takes it */
}

int warden_load_saved(struct warden_link *l, char ret_nonce_sha256[65], struct mvm_error *err)
{
	return ask_text(l, question(ASK_LOAD_SAVED), ret_nonce_sha256, 65, err);
}

int warden_use_saved(struct warden_link *l, enum warden_use how, struct mvm_error *err)
{
	return ask_only(l, question_about(ASK_USE_SAVED, how), err);
}

int warden_adopt(struct warden_link *l, struct vmm_forward ret[RECORD_FORWARDS_MAX],
		 struct strv *ret_name_servers, struct mvm_error *err)
{
	AUTO_DONE(line_message) reply = { 0 };
	struct line_message q = question(ASK_ADOPT);
	struct wire_field field;
	int r = ask(l, &q, &reply, err);
	if (r == 0 && wire_find(reply.fields.data, reply.fields.len, TAG_FORWARDS, &field) > 0 &&
	    field.len <= sizeof(*ret) * RECORD_FORWARDS_MAX)
		memcpy(ret, field.data, field.len);
	struct wire_reader reader = { (const uint8_t *)reply.fields.data, reply.fields.len };
	while (r == 0 && wire_next(&reader, &field) > 0)
		if (field.tag == TAG_NAME_SERVER)
			strv_addn(ret_name_servers, (const char *)field.data, field.len);
	return r;
}

void warden_adopted(struct warden_link *l)
{
	ask_only(l, question(ASK_ADOPTED), NULL); /* cannot fail */
}

void warden_give_up_adoption(struct warden_link *l)
{
	ask_only(l, question(ASK_GIVE_UP_ADOPTION), NULL); /* the VM ends in either case */
}

int warden_rename(struct warden_link *l, const char *to, struct mvm_error *err)
{
	struct line_message q = question(ASK_RENAME);
	wire_put_str(&q.fields, TAG_TEXT, to);
	return ask_only(l, q, err);
}

/* ---- volumes ---- */

int warden_copy(struct warden_link *l, bool back, int *ret_report_fd, int *ret_control_fd,
		struct mvm_error *err)
{
	AUTO_DONE(line_message) reply = { 0 };
	struct line_message q = question_about(ASK_COPY, back);
	int r = ask(l, &q, &reply, err);
	if (r < 0)
		return r;
	*ret_report_fd = take_fd(&reply, 0);
	*ret_control_fd = take_fd(&reply, 1);
	return 0;
}

int warden_copied(struct warden_link *l, bool kill)
{
	AUTO_DONE(line_message) reply = { 0 };
	struct line_message q = question_about(ASK_COPIED, kill);
	int r = ask(l, &q, &reply, NULL);
	return r < 0 ? -1 : (int)number_of(&reply, TAG_NUMBER);
}

/* ---- the end ---- */

void warden_release(struct warden_link *l)
{
	ask_only(l, question(ASK_RELEASE), NULL); /* cannot fail */
}

void warden_stop_listening(struct warden_link *l)
{
	ask_only(l, question(ASK_STOP_LISTENING), NULL); /* if it stays, it goes with the folder */
}

void warden_remove(struct warden_link *l)
{
	ask_only(l, question(ASK_REMOVE), NULL); /* after a failure `rm` can remove it */
}
