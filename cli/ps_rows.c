/* SPDX-License-Identifier: Apache-2.0 */
#include "ps_rows.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "instance_state.h"
#include "options.h"

const char *const ps_columns[PS_COLUMNS] = { "Name",	"Template", "State",  "Health",	  "Start",
					     "Started", "Memory",   "Ports",  "Revision", "Backend",
					     "Status",	"Allowed",  "Labels", "Disk",	  "Ends" };

void ps_host(const struct mvm_forward *f, struct strbuf *b)
{
	bool v6 = strchr(f->host_address, ':');
	strbuf_addf(b, "%s%s%s:%u", v6 ? "[" : "", f->host_address, v6 ? "]" : "", f->host_port);
}

static bool runs(const struct mvm_instance_info *info)
{
	return info->state != MVM_INSTANCE_EXITED && info->state != MVM_INSTANCE_FAILED &&
	       info->state != MVM_INSTANCE_SUSPENDED;
}

/* Those of a VM that has ended lead nowhere. */
static void add_ports(const struct mvm_instance_info *info, struct strbuf *b)
{
	for (size_t i = 0; i < info->n_forwards && runs(info); i++) {
		const struct mvm_forward *f = &info->forwards[i];
		strbuf_adds(b, i ? ", " : "");
		ps_host(f, b);
		strbuf_addf(b, "->%u%s", f->guest_port, f->udp ? "/udp" : "");
	}
}

static void add_allowed(const struct mvm_instance_info *info, struct strbuf *b)
{
	for (size_t i = 0; info->network_allow[i] && runs(info); i++)
		strbuf_addf(b, "%s%s", i ? ", " : "", info->network_allow[i]);
}

static void add_labels(const struct mvm_instance_info *info, struct strbuf *b)
{
	for (size_t i = 0; info->labels[i]; i++)
		strbuf_addf(b, "%s%s", i ? "," : "", info->labels[i]);
}

/* "suspend 2026-11-29T20:00:00Z, stop when idle for 1800 s" */
static void add_ends(const struct mvm_instance_info *info, struct strbuf *b)
{
	if (info->ttl_ms && info->expires_at && runs(info))
		strbuf_addf(b, "%s %s", then_name(info->ttl_action), info->expires_at);
	if (info->on_idle_ms && runs(info))
		strbuf_addf(b, "%s%s when idle for %.0f s", b->len ? ", " : "",
			    then_name(info->on_idle_action), (double)info->on_idle_ms / 1000);
}

void ps_cells(const struct mvm_instance_info *info, struct strv *b)
{
	AUTO_DONE(strbuf) ports = { 0 };
	AUTO_DONE(strbuf) allowed = { 0 };
	AUTO_DONE(strbuf) labels = { 0 };
	AUTO_DONE(strbuf) ends = { 0 };
	char memory[32] = "-", disk[32], state[INSTANCE_STATE_SIZE];

	add_ports(info, &ports);
	add_allowed(info, &allowed);
	add_labels(info, &labels);
	add_ends(info, &ends);
	if (info->vmm_pid > 0)
		str_bytes(info->memory_private_bytes, memory, sizeof(memory));
	str_bytes(info->disk_bytes, disk, sizeof(disk));
	strv_add(b, info->name);
	strv_add(b, info->template_id[0] ? info->template_id : "-"); /* unread records have none */
	strv_add(b, mvm_instance_state_name(info->state));
	strv_add(b, str_eq(info->health, "none") ? "-" : info->health);
	const char *how = info->restored ? "restored" : "booted";
	if (info->from_pool)
		how = "pool";
	if (info->start_ns)
		strv_addf(b, "%s, %.0f ms", how, (double)info->start_ns / 1e6); /* as run says it */
	else
		strv_add(b, "-");
	strv_add(b, info->started_at ? info->started_at : "-");
	strv_add(b, memory);
	strv_add(b, ports.data ? ports.data : "");
	strv_add(b, info->revision);
	strv_add(b, info->backend);
	instance_state_text(info, state);
	strv_add(b, state);
	strv_add(b, allowed.data ? allowed.data : "");
	strv_add(b, labels.data ? labels.data : "");
	strv_add(b, disk);
	strv_add(b, ends.data ? ends.data : "");
	b->failed |= ports.failed || allowed.failed || labels.failed || ends.failed;
}

/* The place of a column, in upper or lower case, or PS_COLUMNS. */
static size_t column_of(const char *name, size_t len)
{
	size_t i = 0;
	while (i < PS_COLUMNS &&
	       (strlen(ps_columns[i]) != len || strncasecmp(ps_columns[i], name, len) != 0))
		i++;
	return i;
}

/* The value of the label with this key; "" when there is none. */
static const char *label_of(const struct mvm_instance_info *info, const char *key, size_t len)
{
	for (size_t i = 0; info && info->labels[i]; i++) {
		if (strncmp(info->labels[i], key, len) == 0 && info->labels[i][len] == '=')
			return info->labels[i] + len + 1;
	}
	return "";
}

/* Add what a placeholder stands for.  Returns its length; 0: it is none. */
static size_t fill_in(const char *at, const struct mvm_instance_info *info,
		      const struct strv *cells, struct strbuf *b)
{
	size_t name = strcspn(at + 3, " }"), column = column_of(at + 3, name);
	const char *end = at + 3 + name, *key = end + 2;
	if (column < PS_COLUMNS && str_starts(end, "}}")) {
		strbuf_adds(b, info ? cells->v[column] : "");
		return (size_t)(end + 2 - at);
	}
	if (name != strlen("Label") || strncasecmp(at + 3, "Label", name) != 0 ||
	    !str_starts(end, " \""))
		return 0;
	size_t len = strcspn(key, "\"");
	if (!str_starts(key + len, "\"}}"))
		return 0;
	strbuf_adds(b, label_of(info, key, len));
	return (size_t)(key + len + 3 - at);
}

static int no_placeholder(struct cli_context *c, const char *at)
{
	AUTO_DONE(strbuf) known = { 0 };
	const char *end = strstr(at, "}}");

	for (size_t i = 0; i < PS_COLUMNS; i++)
		strbuf_addf(&known, "%s{{.%s}}", i ? ", " : "", ps_columns[i]);
	return cli_usage(c, "option '--format': '%.*s' is none of %s, {{.Label \"KEY\"}}",
			 end ? (int)(end + 2 - at) : (int)strlen(at), at,
			 known.data ? known.data : "");
}

int ps_format(struct cli_context *c, const char *format, const struct mvm_instance_info *info,
	      struct strbuf *b)
{
	AUTO_DONE(strv) cells = { 0 };
	if (info)
		ps_cells(info, &cells);
	if (cells.failed)
		return -ENOMEM;
	if (!strstr(format, "{{"))
		return cli_usage(c,
				 "option '--format': '%s' has no placeholder such as {{.Name}}; "
				 "--json prints JSON",
				 format);
	for (const char *p = format; *p; p++) {
		size_t len = str_starts(p, "{{.") ? fill_in(p, info, &cells, b) : 0;
		if (len) {
			p += len - 1;
		} else if (str_starts(p, "{{")) {
			return no_placeholder(c, p);
		} else if (*p == '\\' && (p[1] == 't' || p[1] == 'n')) {
			strbuf_adds(b, *++p == 't' ? "\t" : "\n");
		} else {
			strbuf_add(b, p, 1);
		}
	}
	strbuf_adds(b, "\n");
	return b->failed ? -ENOMEM : 0;
}
