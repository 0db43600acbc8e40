/* SPDX-License-Identifier: Apache-2.0 */
#include "ps_rows.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "instance_state.h"
#include "options.h"

const char *const ps_columns[PS_COLUMNS] = { "Name",	 "Template", "State",  "Health",
					     "Start",	 "Started",  "Memory", "Ports",
					     "Revision", "Backend",  "Status", "Allowed" };

void ps_host(const struct mvm_forward *f, struct strbuf *b)
{
	bool v6 = strchr(f->host_address, ':');
	strbuf_addf(b, "%s%s%s:%u", v6 ? "[" : "", f->host_address, v6 ? "]" : "", f->host_port);
}

static bool runs(const struct mvm_instance_info *info)
{
	return info->state != MVM_INSTANCE_EXITED && info->state != MVM_INSTANCE_FAILED;
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

void ps_cells(const struct mvm_instance_info *info, struct strv *b)
{
	AUTO_DONE(strbuf) ports = { 0 };
	AUTO_DONE(strbuf) allowed = { 0 };
	char memory[32] = "-", state[INSTANCE_STATE_SIZE];

	add_ports(info, &ports);
	add_allowed(info, &allowed);
	if (info->vmm_pid > 0)
		str_bytes(info->memory_private_bytes, memory, sizeof(memory));
	strv_add(b, info->name);
	strv_add(b, info->template_id);
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
	b->failed |= ports.failed || allowed.failed;
}

/* The cell of a placeholder, in upper or lower case; NULL when there is no such placeholder. */
static const char *cell_of(const struct strv *cells, const char *name, size_t len)
{
	for (size_t i = 0; i < PS_COLUMNS; i++) {
		if (strlen(ps_columns[i]) == len && strncasecmp(ps_columns[i], name, len) == 0)
			return cells->v[i];
	}
	return NULL;
}

static int no_placeholder(struct cli_context *c, const char *at)
{
	AUTO_DONE(strbuf) known = { 0 };
	const char *end = strstr(at, "}}");

	for (size_t i = 0; i < PS_COLUMNS; i++)
		strbuf_addf(&known, "%s{{.%s}}", i ? ", " : "", ps_columns[i]);
	return cli_usage(c, "option '--format': '%.*s' is none of %s",
			 end ? (int)(end + 2 - at) : (int)strlen(at), at,
			 known.data ? known.data : "");
}

int ps_format(struct cli_context *c, const char *format, const struct strv *cells, struct strbuf *b)
{
	for (const char *p = format; *p; p++) {
		size_t name = str_starts(p, "{{.") ? strcspn(p + 3, "}") : 0;
		const char *cell = name ? cell_of(cells, p + 3, name) : NULL;
		if (cell && str_starts(p + 3 + name, "}}")) {
			strbuf_adds(b, cell);
			p += strlen("{{.") + name + 1;
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

static const char *const filter_keys[] = { "name", "state", "health", "template", NULL };

static bool matches(const struct mvm_instance_info *info, size_t key, const char *value)
{
	const char *words[] = { NULL, mvm_instance_state_name(info->state), info->health,
				info->template_id };
	return key == 0 ? strstr(info->name, value) != NULL : str_eq(words[key], value);
}

/* The values of a key that has few, "a, b or c" in a message; NULL for the others. */
static const char *const filter_values[] = { NULL, "starting|running|paused|exited|failed",
					     "none|starting|healthy|unhealthy", NULL };

/* The key of "KEY=VALUE", or -1. */
static int key_of(const char *filter)
{
	for (int i = 0; filter_keys[i]; i++) {
		size_t len = strlen(filter_keys[i]);
		if (str_starts(filter, filter_keys[i]) && filter[len] == '=')
			return i;
	}
	return -1;
}

int ps_passes(struct cli_context *c, const struct strv *filters,
	      const struct mvm_instance_info *info)
{
	bool wanted[4] = { false }, met[4] = { false };

	for (size_t i = 0; i < filters->n; i++) {
		int key = key_of(filters->v[i]);
		if (key < 0)
			return cli_usage(c,
					 "option '--filter': '%s' is not name, state, health or "
					 "template, '=' and a value",
					 filters->v[i]);
		const char *value = strchr(filters->v[i], '=') + 1;
		if (filter_values[key] && !choices_have(filter_values[key], value)) {
			char known[128];
			say_choices(filter_values[key], known, sizeof(known));
			return cli_usage(c, "option '--filter': %s '%s' is not %s",
					 filter_keys[key], value, known);
		}
		wanted[key] = true;
		met[key] |= !info || matches(info, (size_t)key, value);
	}
	for (size_t i = 0; i < 4; i++) {
		if (wanted[i] && !met[i])
			return 0;
	}
	return 1;
}
