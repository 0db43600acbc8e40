/* SPDX-License-Identifier: Apache-2.0 */
#include <mvm/pool.h>
#include <signal.h>
#include <stdio.h>

#include "guest_command.h"
#include "handles.h"
#include "json.h"
#include "options.h"
#include "out.h"

static int set(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	char server[128] = "";
	AUTO_DONE(mvm_pool_info_list) all = { 0 };
	if (!args_given(a, "size"))
		return cli_usage(c, "--size is missing: how many VMs shall wait? 0 is none");
	uint32_t size = args_u32(a, "size", 0);
	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_pool_set(mvm, args_at(a, 0), size, &c->err);
	if (r == 0)
		r = mvm_pool_list(mvm, &all.v, &all.n, server, &c->err);
	if (r == 0 && size > 0 && !server[0])
		fprintf(stderr, "nobody serves pools yet: start 'mvm pool serve'\n");
	return r;
}

static int print_json(const struct mvm_pool_info_list *all, const char *server)
{
	AUTO_DONE(jsonw) j = { 0 };
	jsonw_open(&j, NULL, '{');
	jsonw_string(&j, "server", server[0] ? server : NULL);
	jsonw_open(&j, "pools", '[');
	for (size_t i = 0; i < all->n; i++) {
		const struct mvm_pool_info *p = all->v[i];
		jsonw_open(&j, NULL, '{');
		jsonw_string(&j, "template_id", p->template_id);
		jsonw_u64(&j, "size", p->size);
		jsonw_u64(&j, "ready", p->ready);
		jsonw_string(&j, "note", p->note);
		jsonw_close(&j);
	}
	jsonw_close(&j);
	jsonw_close(&j);
	return jsonw_print(&j, stdout);
}

static int list(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO_DONE(mvm_pool_info_list) all = { 0 };
	AUTO_DONE(table) t = { .columns = 4 };
	char server[128] = "";
	(void)a;

	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_pool_list(mvm, &all.v, &all.n, server, &c->err);
	if (r < 0)
		return r;
	if (c->json)
		return print_json(&all, server);
	if (all.n > 0 && !server[0])
		fprintf(stderr, "nobody serves pools: start 'mvm pool serve'\n");
	table_row(&t, "TEMPLATE", "SIZE", "READY", "NOTE");
	for (size_t i = 0; i < all.n; i++) {
		char size[16], ready[16];
		snprintf(size, sizeof(size), "%u", all.v[i]->size);
		snprintf(ready, sizeof(ready), "%u", all.v[i]->ready);
		table_row(&t, all.v[i]->template_id, size, ready,
			  all.v[i]->note ? all.v[i]->note : "");
	}
	return table_print(&t, stdout);
}

static int serve(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO_CLOSE int signals = guest_signals_block(false);
	const struct mvm_pool_serve_options options = {
		.size = sizeof(options),
		.max_memory_bytes = (uint64_t)args_u32(a, "max-memory", 0) << 20,
	};
	int r = mvm_open(c->data_dir, &mvm, &c->err);
	c->progress.cancel_fd = &signals;
	if (r == 0)
		r = mvm_pool_serve(mvm, &options, &c->progress, &c->err);
	c->progress.cancel_fd = NULL;
	guest_signals_take(signals); /* the one that ended this */
	return r;
}

static const struct option set_options[] = {
	{ .name = "size",
	  .letter = 's',
	  .kind = OPTION_U32,
	  .value = "N",
	  .max = MVM_POOL_SIZE_MAX,
	  .help = "how many VMs wait; 0: none" },
	{ 0 },
};

static const struct option serve_options[] = {
	{ .name = "max-memory",
	  .kind = OPTION_SIZE,
	  .value = "SIZE",
	  .min = 1,
	  .help = "limit for the private memory of all waiting VMs (default: a "
		  "quarter of this host's memory)" },
	{ 0 },
};

static const struct option json_options[] = { OPTION_JSON, { 0 } };

const struct command command_pool_set = {
	.path = "pool set",
	.summary = "Set how many restored VMs of a template wait",
	.details = "VMs of a pool are restored and paused in advance. 'mvm run' then "
		   "only gives one of them an identity and resumes it, in "
		   "milliseconds. VMs wait without an identity, with their processes "
		   "frozen, and each takes some memory. 'mvm pool serve' keeps the "
		   "pools full.\n\nThe template needs a snapshot. A new revision or "
		   "snapshot replaces the VMs.",
	.examples = "mvm pool set http-worker --size 4\n"
		    "mvm pool set http-worker --size 0",
	.positionals = { { .name = "ID", .help = "the template", .hint = VALUE_TEMPLATE } },
	.options = set_options,
	.run = set,
};

const struct command command_pool_list = {
	.path = "pool list",
	.summary = "List pools and how many of their VMs are ready",
	.options = json_options,
	.run = list,
};

const struct command command_pool_serve = {
	.path = "pool serve",
	.summary = "Keep the pools full, until interrupted",
	.details = "Runs in the foreground; the systemd unit mvm-pool.service runs it "
		   "for a user. Waiting VMs end with it; VMs that 'mvm run' has taken "
		   "go on. Without it, or if a pool is empty, 'mvm run' restores the "
		   "snapshot itself.",
	.examples = "mvm pool serve --max-memory 2G",
	.options = serve_options,
	.run = serve,
};
