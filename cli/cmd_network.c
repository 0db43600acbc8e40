/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>

#include <mvm/network.h>

#include "handles.h"
#include "json.h"
#include "options.h"
#include "rules.h"
#include "text.h"

static void print_rules(const char *title, const char *const *rules, const char *none)
{
	printf("%-8s ", title);
	if (!rules[0])
		printf("%s", none);
	for (size_t i = 0; rules[i]; i++)
		printf("%s%s", i ? ", " : "", rules[i]);
	putchar('\n');
}

static void print_refusals(const struct mvm_instance_info *info)
{
	printf("%-8s %llu\n", "refused", (unsigned long long)info->network_refused);
	for (size_t i = 0; i < info->n_refusals; i++) {
		const struct mvm_refusal *r = &info->refusals[i];
		printf("         %s %s ", r->last_at, r->protocol);
		print_text(stdout, r->target); /* a guest chose it */
		if (r->port)
			printf(" port %u", r->port);
		printf(" (%s), %llu\n", r->reason, (unsigned long long)r->count);
	}
}

static void put_rules(struct jsonw *j, const char *key, const char *const *rules)
{
	jsonw_open(j, key, '[');
	for (size_t i = 0; rules[i]; i++)
		jsonw_string(j, NULL, rules[i]);
	jsonw_close(j);
}

static int print_json(const struct mvm_instance_info *info)
{
	AUTO_DONE(jsonw) j = { 0 };
	jsonw_open(&j, NULL, '{');
	jsonw_string(&j, "name", info->name);
	put_rules(&j, "allow", info->network_allow);
	put_rules(&j, "deny", info->network_deny);
	put_rules(&j, "dns", info->network_dns);
	jsonw_string(&j, "problem", info->network_problem);
	jsonw_u64(&j, "refused", info->network_refused);
	jsonw_open(&j, "refusals", '[');
	for (size_t i = 0; i < info->n_refusals; i++) {
		const struct mvm_refusal *r = &info->refusals[i];
		jsonw_open(&j, NULL, '{');
		jsonw_string(&j, "target", r->target);
		jsonw_u64(&j, "port", r->port);
		jsonw_string(&j, "protocol", r->protocol);
		jsonw_string(&j, "reason", r->reason);
		jsonw_u64(&j, "count", r->count);
		jsonw_string(&j, "last_at", r->last_at);
		jsonw_close(&j);
	}
	jsonw_close(&j);
	jsonw_close(&j);
	return jsonw_print(&j, stdout);
}

static int show(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO(mvm_instance_info) info = NULL;
	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_instance_inspect(mvm, args_at(a, 0), &info, &c->err);
	if (r < 0)
		return r;
	assert(info);
	if (c->json)
		return print_json(info);
	print_rules("allow", info->network_allow, "no rules");
	print_rules("deny", info->network_deny, "no rules");
	if (info->network_dns[0])
		print_rules("dns", info->network_dns, "");
	if (info->network_problem)
		printf("%-8s %s\n", "problem", info->network_problem);
	print_refusals(info);
	return 0;
}

static int set(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO_DONE(jsonw) j = { 0 };
	const char *name = args_at(a, 0);
	int r = rules_check(c, a);
	if (r < 0)
		return r;
	const struct mvm_network_options options = {
		.size = sizeof(options),
		.allow = (const char *const *)args_list(a, "allow")->v,
		.deny = (const char *const *)args_list(a, "deny")->v,
		.add = args_flag(a, "add"),
	};
	r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_instance_set_network(mvm, name, &options, &c->progress, &c->err);
	if (r < 0 || !c->json)
		return r;
	jsonw_open(&j, NULL, '{');
	jsonw_string(&j, "name", name);
	jsonw_bool(&j, "changed", true);
	jsonw_close(&j);
	return jsonw_print(&j, stdout);
}

static const struct option show_options[] = { OPTION_JSON, { 0 } };

static const struct option set_options[] = {
	RULES_OPTIONS,
	{ .name = "add", .kind = OPTION_FLAG, .help = "keep the rules that it has, too" },
	OPTION_JSON,
	{ 0 },
};

const struct command command_network_show = {
	.path = "network show",
	.summary = "Show what an instance may reach, and what was refused",
	.positionals = { { .name = "NAME", .help = "the instance", .hint = VALUE_INSTANCE } },
	.options = show_options,
	.run = show,
};

const struct command command_network_set = {
	.path = "network set",
	.summary = "Give a running instance other rules for its network",
	.details = "The rules replace all that it has, the template's among them; without any it "
		   "reaches public addresses and nothing else. They hold at once: open connections "
		   "that they refuse are reset. Ports forwarded by 'mvm run -p' stay. A restart "
		   "keeps the rules.",
	.positionals = { { .name = "NAME", .help = "the instance", .hint = VALUE_INSTANCE } },
	.options = set_options,
	.examples = "mvm network set web --allow api.example.org:443 --deny all\n"
		    "mvm network set web --add --allow host:5432",
	.run = set,
};
