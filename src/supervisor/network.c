/* SPDX-License-Identifier: Apache-2.0 */
/* An instance's network while it runs: other rules, and what mvm-net tells. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "codec/json.h"
#include "model/policy.h"
#include "net/wire.h"
#include "supervisor/supervise.h"

#define RULES_DEADLINE_MS INT64_C(10000)

/* Events about refusals: so many in a minute, one for each target. */
#define EVENTS_PER_MINUTE 6u
#define MINUTE_NS	  (60 * NS_PER_S)

/* ---- other rules ---- */

static int read_list(const struct json_at *at, const char *key, const struct strv *kept,
		     struct strv *ret, struct mvm_error *err)
{
	AUTO_DONE(strv) rules = { 0 };
	struct policy_rule rule;
	int r = json_get_strings(at, key, JSON_OPTIONAL, &rules, err);
	for (size_t i = 0; kept && i < kept->n; i++)
		strv_add(ret, kept->v[i]);
	for (size_t i = 0; i < rules.n && r >= 0; i++) {
		r = policy_rule_parse(rules.v[i], &rule, err);
		if (!strv_has(ret, rules.v[i]))
			strv_add(ret, rules.v[i]);
	}
	if (r < 0)
		return r;
	if (ret->failed)
		return mvm_error_oom(err);
	return ret->n <= POLICY_RULES_MAX
		       ? 0
		       : mvm_error_set(err, -E2BIG, "a network has at most %u rules of a kind",
				       POLICY_RULES_MAX);
}

int network_read_rules(const char *text, size_t len, const struct record *have, struct record *ret,
		       struct mvm_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	struct json_at root;
	bool add = false;
	int r = json_read(text, len, "rules", &doc, err);
	if (r < 0)
		return r;
	json_root(&root, "rules", doc);
	r = json_get_bool(&root, "add", JSON_OPTIONAL, &add, err);
	if (r >= 0)
		r = read_list(&root, "allow", add ? &have->network_allow : NULL,
			      &ret->network_allow, err);
	if (r >= 0)
		r = read_list(&root, "deny", add ? &have->network_deny : NULL, &ret->network_deny,
			      err);
	return r;
}

void network_exchange_rules(struct record *a, struct record *b)
{
	struct strv allow = a->network_allow, deny = a->network_deny;
	a->network_allow = b->network_allow;
	a->network_deny = b->network_deny;
	b->network_allow = allow;
	b->network_deny = deny;
}

static char *rules_text(const struct record *rec)
{
	AUTO_DONE(strbuf) b = { 0 };
	const struct strv *lists[] = { &rec->network_allow, &rec->network_deny };
	for (size_t k = 0; k < 2; k++) {
		strbuf_addf(&b, "%s%s", k ? "; deny" : "allow", lists[k]->n ? "" : " nothing more");
		for (size_t i = 0; i < lists[k]->n; i++)
			strbuf_addf(&b, " %s", lists[k]->v[i]);
	}
	return strbuf_take(&b);
}

int set_network(struct supervisor *s, const struct job *j, struct mvm_error *err)
{
	AUTO_DONE(record) wanted = { 0 };
	AUTO_FREE char *json = NULL;
	struct wire_field field;
	if (s->record.purpose != RECORD_FOR_USER)
		return mvm_error_set(err, -EBUSY, "this VM is nobody's instance yet");
	if (s->revision.run.network == MVM_NETWORK_NONE)
		return mvm_error_set(err, -EINVAL, "it has no network, so it takes no rules");
	if (wire_find(j->args.data, j->args.len, FIELD_JSON, &field) <= 0 ||
	    wire_get_str(&field, &json) < 0)
		return mvm_error_set(err, -EPROTO, "a call without its fields");
	int r = network_read_rules(json, strlen(json), &s->record, &wanted, err);
	if (r == 0 && !s->machine.ended) { /* else the next start takes them */
		const struct vmm_network rules = network_rules(&s->revision, &wanted);
		r = vmm_network_rules(s->machine.vmm, &rules, clock_deadline_ns(RULES_DEADLINE_MS),
				      err);
	}
	if (r == 0)
		r = warden_rules(&s->warden, json, err);
	if (r < 0)
		return r;
	network_exchange_rules(&s->record, &wanted);
	save_record(s);
	AUTO_FREE char *text = rules_text(&s->record);
	tell(s, "network", text);
	return 0;
}

/* ---- what mvm-net tells ---- */

static struct record_refusal *place_for(struct record *rec, const struct vmm_refusal *r)
{
	size_t i = 0;
	while (i < rec->n_network_refusals &&
	       !(rec->network_refusals[i].port == r->port &&
		 str_eq(rec->network_refusals[i].target, r->target) &&
		 str_eq(rec->network_refusals[i].protocol, r->protocol)))
		i++;
	bool is_new = i == rec->n_network_refusals;
	if (is_new && i == RECORD_REFUSALS_MAX)
		i--; /* the one that has been silent for longest */
	else if (is_new)
		rec->n_network_refusals++;
	/* the latest comes first */
	struct record_refusal place = rec->network_refusals[i];
	memmove(rec->network_refusals + 1, rec->network_refusals, i * sizeof(place));
	if (is_new)
		place = (struct record_refusal){ .port = r->port };
	rec->network_refusals[0] = place;
	return &rec->network_refusals[0];
}

static void note_refusal(struct supervisor *s, const struct vmm_refusal *r)
{
	char port[16] = "", text[sizeof(r->target) + 96];
	struct record_refusal *to = place_for(&s->record, r);
	bool is_new = to->count == 0;
	snprintf(to->target, sizeof(to->target), "%s", r->target);
	snprintf(to->protocol, sizeof(to->protocol), "%s", r->protocol);
	snprintf(to->reason, sizeof(to->reason), "%s", r->reason);
	to->count += r->count;
	clock_format(clock_wall_ns() / NS_PER_S, to->last_at);
	if (!is_new)
		return;
	int64_t now_ns = clock_now_ns();
	if (now_ns - s->refusals_since_ns >= MINUTE_NS) {
		s->refusals_since_ns = now_ns;
		s->refusal_events = 0;
	}
	if (s->refusal_events == EVENTS_PER_MINUTE)
		return;
	bool is_last = ++s->refusal_events == EVENTS_PER_MINUTE;
	if (r->port)
		snprintf(port, sizeof(port), " port %u", r->port);
	snprintf(text, sizeof(text), "%s %s%s (%s), %llu%s", r->protocol, r->target, port,
		 r->reason, (unsigned long long)r->count,
		 is_last ? "; no more of these events for a minute" : "");
	tell(s, "refused", text);
}

void on_network(void *arg, const struct vmm_network_news *news)
{
	struct supervisor *s = arg;
	if (news->visited)
		s->used_ns = clock_now_ns();
	if (!news->n_refused && !news->n && !news->problem && !news->is_back)
		return;
	s->record.network_refused += news->n_refused;
	for (size_t i = 0; i < news->n; i++)
		note_refusal(s, &news->refusals[i]);
	if (news->problem || news->is_back) {
		set_string(&s->record.network_problem, news->problem);
		tell(s, news->is_back ? "network-up" : "network-down",
		     news->is_back ? "mvm-net serves again" : news->problem);
	}
	if (s->state != LIFE_STARTING) /* then the start saves it */
		save_record(s);
}
