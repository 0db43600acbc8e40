/* SPDX-License-Identifier: Apache-2.0 */
/* The warden's part in the network: changed rules, and the refusals in the record. */
#include <errno.h>
#include <string.h>

#include "instance/confine.h"
#include "supervisor/supervise.h"
#include "supervisor/warden_ask.h"
#include "supervisor/warden_parts.h"
#include "vmm/name_servers.h"

bool network_take_field(struct record *rec, const struct wire_field *f)
{
	uint64_t n = 0;
	if (f->tag < TAG_REFUSAL || f->tag > TAG_REFUSAL_AT)
		return false;
	if (f->tag == TAG_REFUSAL) {
		if (rec->n_network_refusals == RECORD_REFUSALS_MAX)
			return true;
		rec->network_refusals[rec->n_network_refusals++] = (struct record_refusal){ 0 };
	}
	if (rec->n_network_refusals == 0)
		return true;
	struct record_refusal *to = &rec->network_refusals[rec->n_network_refusals - 1];
	if (f->tag == TAG_REFUSAL)
		take_chars(to->target, sizeof(to->target), f);
	else if (f->tag == TAG_REFUSAL_PROTOCOL)
		take_chars(to->protocol, sizeof(to->protocol), f);
	else if (f->tag == TAG_REFUSAL_REASON)
		take_chars(to->reason, sizeof(to->reason), f);
	else if (f->tag == TAG_REFUSAL_AT)
		take_chars(to->last_at, sizeof(to->last_at), f);
	else if (wire_get_u64(f, &n) == 0 && f->tag == TAG_REFUSAL_PORT)
		to->port = (uint16_t)n;
	else
		to->count = n & INT64_MAX;
	return true;
}

int64_t network_pid(const struct warden *w)
{
	return w->body && w->ops->network_pid ? w->ops->network_pid(w->body) : 0;
}

void network_put_name_servers(const struct warden *w, struct strbuf *fields)
{
	AUTO_DONE(strv) servers = { 0 };
	if (!w->ops->start_network || !w->config.network || w->revision.run.dns.n > 0)
		return;
	name_servers_of_host(&servers);
	for (size_t i = 0; i < servers.n; i++)
		wire_put_str(fields, TAG_NAME_SERVER, servers.v[i]);
}

int network_answer_start(struct warden *w, struct line_message *ret, struct mvm_error *err)
{
	int fd = -1;
	if (!w->body || !w->ops->start_network || !w->config.network)
		return -ESRCH;
	w->config.network_rules = network_rules(&w->revision, &w->record);
	w->config.n_forwards = w->record.n_forwards;
	int r = w->ops->start_network(w->body, &w->config, &fd, err);
	if (r < 0)
		return r;
	line_add_fd(ret, fd);
	confine_network(&w->record, network_pid(w));
	return 0;
}

int network_answer_rules(struct warden *w, const struct line_message *asked, struct mvm_error *err)
{
	AUTO_DONE(record) wanted = { 0 };
	struct wire_field f;
	if (w->record.purpose != RECORD_FOR_USER ||
	    wire_find(asked->fields.data, asked->fields.len, TAG_TEXT, &f) <= 0)
		return mvm_error_set(err, -EPROTO, "no rules for this VM");
	int r = network_read_rules((const char *)f.data, f.len, &w->record, &wanted, err);
	if (r == 0)
		network_exchange_rules(&w->record, &wanted);
	return r;
}
