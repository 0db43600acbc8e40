/* SPDX-License-Identifier: Apache-2.0 */
/* Turns a VM that waits in a pool, restored and paused, into an instance. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "model/name.h"
#include "net/wire.h"
#include "supervisor/supervise.h"

#define ADOPT_DEADLINE_MS INT64_C(30000)
#define CLAIM_MAX_NS	  (60 * NS_PER_S)

static int read_offer(const struct supervisor *s, const struct job *j, struct record *ret,
		      struct mvm_error *err)
{
	AUTO_FREE char *nonce = NULL;
	struct wire_field json, field;
	if (wire_find(j->args.data, j->args.len, FIELD_JSON, &json) <= 0 ||
	    wire_find(j->args.data, j->args.len, FIELD_NONCE_SHA256, &field) <= 0)
		return mvm_error_set(err, -EPROTO, "a call without its fields");
	int r = wire_get_str(&field, &nonce);
	if (r < 0)
		return mvm_error_set(err, r, "a call with a damaged field");
	r = record_parse((const char *)json.data, json.len, ret, err);
	if (r == 0)
		r = name_check(NAME_INSTANCE, ret->name, err);
	/* the caller has decided on a certain restore, which would give this VM */
	if (r == 0)
		r = record_check_fit(&s->record, ret, err);
	if (r == 0 &&
	    !str_eq(nonce, mvm_snapshot_info_compat(&s->revision.snapshot, "nonce_sha256")))
		r = mvm_error_set(err, -ESTALE,
				  "the VM in the pool is another: its snapshot differs");
	return r;
}

/* When the caller began, so that its work so far counts; else now. */
static int64_t began_ns(const struct job *j)
{
	uint64_t ns, now = (uint64_t)clock_now_ns();
	if (wire_find_u64(j->args.data, j->args.len, FIELD_TIME_NS, now, &ns) &&
	    ns + CLAIM_MAX_NS > now)
		return (int64_t)ns;
	return (int64_t)now;
}

static bool same_rules(const struct strv *wanted, const struct mvm_strings *have)
{
	bool same = wanted->n == have->n;
	for (size_t i = 0; same && i < have->n; i++)
		same = str_eq(wanted->v[i], have->v[i]);
	return same;
}

/* It waits with the template's rules, and the name servers that the host had when it was restored.
 * Its user may want other rules, and the host may be in another network. */
static int take_rules(struct supervisor *s, const struct record *wanted,
		      const struct strv *name_servers, struct mvm_error *err)
{
	const struct mvm_run *run = &s->revision.run;
	bool own_dns = wanted->network_dns.n > 0;
	if (same_rules(&wanted->network_allow, &run->allow) &&
	    same_rules(&wanted->network_deny, &run->deny) && name_servers->n == 0 && !own_dns)
		return 0;
	struct vmm_network rules = network_rules(&s->revision, wanted);
	if (name_servers->n > 0 && !own_dns) {
		rules.dns = name_servers->v;
		rules.n_dns = name_servers->n;
	}
	return vmm_network_rules(s->machine.vmm, &rules, clock_deadline_ns(ADOPT_DEADLINE_MS), err);
}

static int awake(struct supervisor *s, const struct record *wanted,
		 const struct vmm_forward *forwards, const struct strv *name_servers,
		 struct mvm_error *err)
{
	uint8_t nonce[NONCE_BYTES];
	struct machine *m = &s->machine;
	m->console.log.max_bytes = m->workload_log.max_bytes = wanted->log_max_bytes
								       ? wanted->log_max_bytes
								       : LOGFILE_MAX_DEFAULT;
	m->env = &wanted->env;
	m->follows = workload_is_followed(s, wanted);
	fill_volumes_first(s, wanted);
	life_enter(s, LIFE_ADOPTING);
	int r = take_rules(s, wanted, name_servers, err);
	if (r < 0)
		return r;
	r = machine_awake(m, wanted->hostname ? wanted->hostname : wanted->name, &s->revision.run,
			  forwards, wanted->n_forwards, clock_deadline_ns(ADOPT_DEADLINE_MS), nonce,
			  err);
	return r < 0 ? r : check_nonce(s, nonce, err);
}

void adopt(struct supervisor *s, const struct job *j)
{
	AUTO_DONE(record) wanted = { 0 };
	AUTO_DONE(strbuf) fields = { 0 };
	AUTO_DONE(strv) name_servers = { 0 };
	struct vmm_forward forwards[RECORD_FORWARDS_MAX] = { 0 };
	struct mvm_error err = { 0 };

	if (!clients_has(&s->clients, j->client_id))
		return; /* the caller is gone and cannot hold the leash: the VM waits on */
	if (s->state != LIFE_STANDBY) {
		mvm_error_set(&err, -EBUSY, "instance '%s' is not of a pool", s->record.name);
		answer(s, j, &err, NULL);
		return;
	}
	s->machine.began_ns = began_ns(j);
	uint64_t pool = clients_move_leash(&s->clients, j->client_id);
	int r = read_offer(s, j, &wanted, &err);
	if (r == 0)
		r = warden_adopt(&s->warden, forwards, &name_servers, &err);
	if (r == 0)
		r = awake(s, &wanted, forwards, &name_servers, &err);
	if (r == 0 && (s->state != LIFE_ADOPTING || !clients_has_leash(&s->clients)))
		r = mvm_error_cancelled(&err, "the start");
	if (r < 0) {
		warden_give_up_adoption(&s->warden);
		answer(s, j, &err, NULL);
		cut_off(s);
	} else {
		warden_adopted(&s->warden);
		record_take_over(&s->record, &wanted);
		s->machine.env = &s->record.env;
		limit_life(s);
		note_start(s);
		life_enter(s, LIFE_UP);
		save_record(s);
		AUTO_FREE char *json = record_to_json(&s->record);
		wire_put_str(&fields, FIELD_JSON, json);
		answer(s, j, NULL, &fields);
	}
	clients_hang_up(&s->clients, pool);
	if (r == 0)
		settle_in(s);
}
