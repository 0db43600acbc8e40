/* SPDX-License-Identifier: Apache-2.0 */
#include "usernet/refusals.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"

static void note(struct refusals *r, const struct refusal *what)
{
	r->total++;
	r->is_due = true;
	for (unsigned i = 0; i < r->n; i++) {
		struct refusal *at = &r->all[i];
		if (at->port == what->port && str_eq(at->target, what->target) &&
		    str_eq(at->protocol, what->protocol)) {
			at->count++;
			at->reason = what->reason;
			return;
		}
	}
	if (r->n == REFUSALS_MAX)
		return;
	r->all[r->n] = *what;
	r->all[r->n++].count = 1;
}

static const char *protocol_of(unsigned kind)
{
	switch (kind) {
	case FRAME_TCP:
		return "tcp";
	case FRAME_UDP:
		return "udp";
	default:
		return "icmp";
	}
}

void refusals_note(struct refusals *r, const struct gate_refusal *refusal)
{
	const uint8_t *bytes = refusal->address.bytes;
	bool v4 = policy_is_v4(&refusal->address);
	struct refusal what = {
		.port = refusal->port,
		.protocol = protocol_of(refusal->kind),
		.reason = policy_verdict_text(refusal->verdict),
	};
	inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? bytes + 12 : bytes, what.target,
		  sizeof(what.target));
	note(r, &what);
}

void refusals_note_name(struct refusals *r, const char *name, enum policy_verdict why)
{
	struct refusal what = { .protocol = "dns", .reason = policy_verdict_text(why) };
	snprintf(what.target, sizeof(what.target), "%s", name[0] ? name : ".");
	note(r, &what);
}

void refusals_note_visit(struct refusals *r)
{
	r->is_visited = r->is_due = true;
}

int refusals_wait_ms(const struct refusals *r, int64_t now_ns)
{
	if (!r->is_due)
		return -1;
	return r->next_ns <= now_ns ? 0 : (int)((r->next_ns - now_ns) / NS_PER_MS) + 1;
}

json_t *refusals_take(struct refusals *r, int64_t now_ns)
{
	if (!r->is_due || now_ns < r->next_ns)
		return NULL;
	json_t *list = json_array();
	for (unsigned i = 0; i < r->n; i++)
		json_array_append_new(list, json_pack("{s:s, s:i, s:s, s:s, s:I}", "target",
						      r->all[i].target, "port", r->all[i].port,
						      "protocol", r->all[i].protocol, "reason",
						      r->all[i].reason, "count",
						      (json_int_t)r->all[i].count));
	bool visited = r->is_visited;
	r->n = 0;
	r->is_due = r->is_visited = false;
	r->next_ns = now_ns + REFUSALS_PAUSE_NS;
	return json_pack("{s:I, s:o, s:o*}", "refused", (json_int_t)r->total, "refusals", list,
			 "visited", visited ? json_true() : NULL);
}
