/* SPDX-License-Identifier: Apache-2.0 */
/* ps, port */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/parse.h"
#include "handles.h"
#include "json.h"
#include "options.h"
#include "out.h"
#include "progress.h"
#include "ps_filter.h"
#include "ps_rows.h"
#include "text.h"

/* Keep the instances that pass the filters. */
static int filter(struct cli_context *c, const struct strv *filters,
		  struct mvm_instance_info_list *list)
{
	int r = ps_passes(c, filters, NULL); /* report a mistake even if the list is empty */
	size_t kept = 0;

	for (size_t i = 0; r >= 0 && i < list->n; i++) {
		struct mvm_instance_info *info = list->v[i];
		r = ps_passes(c, filters, info);
		list->v[i] = NULL;
		if (r > 0)
			list->v[kept++] = info;
		else
			mvm_instance_info_free(info);
	}
	list->n = r < 0 ? list->n : kept;
	return r < 0 ? r : 0;
}

static int print_json(const struct mvm_instance_info_list *list)
{
	int r = 0;
	fputs("[", stdout); /* main looks at the stream's errors */
	for (size_t i = 0; i < list->n && r == 0; i++) {
		fputs(i ? ",\n" : "\n", stdout);
		r = json_show(list->v[i]->json, stdout);
	}
	fputs("]\n", stdout);
	return r;
}

static int print_formatted(struct cli_context *c, const struct mvm_instance_info_list *list,
			   const char *format)
{
	AUTO_DONE(strbuf) unused = { 0 };
	/* a mistake counts even if the list is empty */
	int r = ps_format(c, format, NULL, &unused);

	for (size_t i = 0; r == 0 && i < list->n; i++) {
		AUTO_DONE(strbuf) line = { 0 };
		r = ps_format(c, format, list->v[i], &line);
		if (r == 0)
			fputs(line.data, stdout);
	}
	return r;
}

/* The columns that only some lists have; most instances have nothing to show there. */
static size_t more_columns(const struct mvm_instance_info_list *list, bool size, size_t ret[3])
{
	size_t n = 0;
	bool allowed = false, ends = false;
	for (size_t i = 0; i < list->n; i++) {
		allowed |= list->v[i]->network_allow[0] != NULL;
		ends |= list->v[i]->ttl_ms || list->v[i]->on_idle_ms;
	}
	if (size)
		ret[n++] = PS_DISK;
	if (allowed)
		ret[n++] = PS_ALLOWED;
	if (ends)
		ret[n++] = PS_ENDS;
	return n;
}

static int print_table(const struct mvm_instance_info_list *list, bool size)
{
	static const char *const titles[PS_COLUMNS] = {
		[PS_ALLOWED] = "ALLOWED",
		[PS_DISK] = "DISK",
		[PS_ENDS] = "ENDS",
	};
	size_t more[3] = { 0 };
	AUTO_DONE(table) t = { .columns = 8 + more_columns(list, size, more) };

	table_row(&t, "NAME", "TEMPLATE", "STATE", "HEALTH", "START", "STARTED", "MEMORY", "PORTS",
		  titles[more[0]], titles[more[1]], titles[more[2]]);
	for (size_t i = 0; i < list->n; i++) {
		AUTO_DONE(strv) cells = { 0 };
		ps_cells(list->v[i], &cells);
		if (cells.failed)
			return -ENOMEM;
		table_row(&t, cells.v[0], cells.v[1], cells.v[PS_STATUS], cells.v[3], cells.v[4],
			  cells.v[5], cells.v[6], cells.v[7], cells.v[more[0]], cells.v[more[1]],
			  cells.v[more[2]]);
	}
	return table_print(&t, stdout);
}

static int ps(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO_DONE(mvm_instance_info_list) list = { 0 };
	const char *format = args_flag(a, "quiet") ? "{{.Name}}" : args_string(a, "format");

	if (c->json + args_flag(a, "quiet") + args_given(a, "format") > 1)
		return cli_usage(c, "--json, --quiet and --format exclude each other");
	int r = mvm_open(c->data_dir, &mvm, &c->err);
	struct mvm_error unsettled = { 0 };
	if (r == 0) {
		mvm_instance_settle(mvm, &c->progress, &unsettled);
		r = mvm_instance_list(mvm, &list.v, &list.n, &c->err);
	}
	if (r == 0 && unsettled.code) /* the instances can be shown all the same */
		note_error(c, &unsettled);
	if (r == 0)
		r = filter(c, args_list(a, "filter"), &list);
	if (r < 0)
		return r;
	if (c->json)
		return print_json(&list);
	return format ? print_formatted(c, &list, format)
		      : print_table(&list, args_flag(a, "size"));
}

/* Parse "80", "80/tcp" or "80/udp".  Without an argument guest is 0, and means every port. */
static int parse_port(struct cli_context *c, const char *text, uint64_t *guest, bool *udp)
{
	AUTO_FREE char *number = text ? strdup(text) : NULL;
	char *protocol = number ? strchr(number, '/') : NULL;

	*guest = 0;
	*udp = false;
	if (!text)
		return 0;
	if (!number)
		return -ENOMEM;
	if (protocol)
		*protocol++ = '\0';
	*udp = protocol && str_eq(protocol, "udp");
	if (parse_u64(number, 1, 65535, guest) < 0 ||
	    (protocol && !*udp && !str_eq(protocol, "tcp")))
		return cli_usage(c, "'%s' is no port: write 80, 80/tcp or 80/udp", text);
	return 0;
}

static void port_json(struct jsonw *j, const struct mvm_forward *f)
{
	jsonw_open(j, NULL, '{');
	jsonw_string(j, "protocol", f->udp ? "udp" : "tcp");
	jsonw_string(j, "host_address", f->host_address);
	jsonw_u64(j, "host_port", f->host_port);
	jsonw_u64(j, "guest_port", f->guest_port);
	jsonw_close(j);
}

static int port(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO(mvm_instance_info) info = NULL;
	AUTO_DONE(jsonw) j = { 0 };
	const char *name = args_at(a, 0), *wanted = args_at(a, 1);
	uint64_t guest;
	size_t found = 0;
	bool udp;

	int r = parse_port(c, wanted, &guest, &udp);
	if (r == 0)
		r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_instance_inspect(mvm, name, &info, &c->err);
	if (r < 0)
		return r;
	assert(info);
	if (info->state == MVM_INSTANCE_SUSPENDED) {
		r = cli_error(c, -EBUSY,
			      "instance '%s' is suspended, so none of its ports leads anywhere",
			      name);
		return mvm_error_reason(&c->err, r, "instance-suspended", name);
	}
	if (info->state == MVM_INSTANCE_EXITED || info->state == MVM_INSTANCE_FAILED) {
		r = cli_error(c, -EBUSY,
			      "instance '%s' does not run, so none of its ports leads anywhere",
			      name);
		return mvm_error_reason(&c->err, r, "instance-ended", name);
	}
	jsonw_open(&j, NULL, '[');
	for (size_t i = 0; i < info->n_forwards; i++) {
		const struct mvm_forward *f = &info->forwards[i];
		AUTO_DONE(strbuf) host = { 0 };
		if (guest && (f->guest_port != guest || f->udp != udp))
			continue;
		found++;
		ps_host(f, &host);
		port_json(&j, f);
		if (!c->json && guest)
			puts(host.data ? host.data : ""); /* main looks at the stream */
		else if (!c->json)
			printf("%u/%s -> %s\n", f->guest_port, f->udp ? "udp" : "tcp",
			       host.data ? host.data : "");
	}
	jsonw_close(&j);
	if (guest && found == 0)
		return cli_error(c, -ENOENT, "port %s of '%s' is not forwarded", wanted, name);
	return c->json ? jsonw_print(&j, stdout) : 0;
}

static const struct option ps_options[] = {
	{ .name = "all",
	  .letter = 'a',
	  .kind = OPTION_FLAG,
	  .help = "accepted for habit: all instances are listed anyway" },
	{ .name = "quiet", .letter = 'q', .kind = OPTION_FLAG, .help = "print only the names" },
	{ .name = "size",
	  .letter = 's',
	  .kind = OPTION_FLAG,
	  .help = "add DISK: what the instance's folder takes, with its own disks" },
	{ .name = "filter",
	  .letter = 'f',
	  .kind = OPTION_LIST,
	  .value = "KEY=VALUE",
	  .offers = "state=starting|state=running|state=paused|state=exited|state=failed|"
		    "health=none|health=starting|health=healthy|health=unhealthy|"
		    "name=|template=|label=|exited=",
	  .help = "only instances with this state (or status), health or template, with "
		  "this part of a name, with this label (KEY or KEY=VALUE), or that "
		  "exited with this status. If you give one key several times, one of "
		  "its values must match, but of labels all; of different keys, each "
		  "must" },
	{ .name = "format",
	  .kind = OPTION_STRING,
	  .value = "TEXT",
	  .help = "print a line for each instance, with {{.Name}} and the other words "
		  "above replaced" },
	OPTION_JSON,
	{ 0 },
};

static const struct option json_options[] = { OPTION_JSON, { 0 } };

const struct command command_ps = {
	.path = "ps",
	.summary = "List instances",
	.details =
		"MEMORY is the private memory of an instance's VMM; 'mvm stats' "
		"shows more. PORTS are shown while the instance runs, and so is "
		"ALLOWED, where rules let an instance reach more of the network, and "
		"ENDS, what ends or suspends it (--ttl, --on-idle). "
		"'running (no network)' is an instance that lacks the network that it should have; "
		"'mvm network show' tells why. 'running (disk error)' is one whose disk "
		"this host could not read or write; 'mvm inspect' tells why.\n\n--format "
		"knows {{.Name}}, {{.Template}}, {{.State}}, {{.Health}}, "
		"{{.Start}}, {{.Started}}, {{.Memory}}, {{.Ports}}, {{.Revision}}, "
		"{{.Backend}}, {{.Allowed}}, {{.Disk}}, {{.Ends}}, {{.Labels}} (K=V,K=V), {{.Label "
		"\"KEY\"}} "
		"(its "
		"value) and {{.Status}} (STATE as the table has it), and \\t and \\n. States are "
		"starting, running, paused, exited and "
		"failed.",
	.examples = "mvm ps -q --filter state=exited --filter state=failed\n"
		    "mvm stop $(mvm ps -q --filter label=tier=web)\n"
		    "mvm ps --filter template=http-worker --format '{{.Name}}\\t{{.Ports}}'",
	.options = ps_options,
	.run = ps,
};

const struct command command_port = {
	.path = "port",
	.summary = "Show the forwarded ports of a running instance",
	.details = "PORT is a port of the guest. With it, only the address and port of "
		   "this host that lead to it are printed.",
	.positionals = { { .name = "NAME", .help = "the instance", .hint = VALUE_INSTANCE },
			 { .name = "PORT", .help = "80, 80/tcp or 80/udp", .optional = true } },
	.options = json_options,
	.examples = "mvm port web\n"
		    "curl http://$(mvm port web 8080)/",
	.run = port,
};
