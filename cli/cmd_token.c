/* SPDX-License-Identifier: Apache-2.0 */
#include <mvm/token.h>
#include <stdio.h>
#include <string.h>

#include "each.h"
#include "handles.h"
#include "json.h"
#include "options.h"
#include "out.h"
#include "when.h"

DEFINE_AUTO(mvm_token_info, mvm_token_info_free)
DEFINE_LIST(mvm_token_info, mvm_token_list_free)

static void put_limit(struct jsonw *j, const char *key, uint32_t n)
{
	if (n)
		jsonw_u64(j, key, n);
	else
		jsonw_string(j, key, NULL);
}

/* secret: only of a new token, else NULL */
static void put_json(struct jsonw *j, const struct mvm_token_info *t, const char *secret)
{
	char created[WHEN_SIZE], expires[WHEN_SIZE];

	when_text(t->created_at, created);
	when_text(t->expires_at, expires);
	jsonw_open(j, NULL, '{');
	jsonw_string(j, "name", t->name);
	jsonw_string(j, "scope", mvm_token_scope_name(t->scope));
	if (secret)
		jsonw_string(j, "token", secret);
	jsonw_string(j, "created_at", created);
	jsonw_string(j, "expires_at", t->expires_at ? expires : NULL);
	put_limit(j, "max_instances", t->max_instances);
	put_limit(j, "max_vcpus", t->max_vcpus);
	put_limit(j, "max_mem_mib", t->max_mem_mib);
	put_limit(j, "max_rate", t->max_rate);
	jsonw_close(j);
}

static int add(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO(mvm_token_info) token = NULL;
	AUTO_DONE(jsonw) j = { 0 };
	char secret[MVM_TOKEN_SECRET_SIZE];
	const char *scope = args_string(a, "scope");
	struct mvm_token_options options = MVM_TOKEN_OPTIONS_INIT;

	options.ttl_ms = args_ms(a, "expires", 0);
	options.max_instances = args_u32(a, "max-instances", 0);
	options.max_vcpus = args_u32(a, "max-vcpus", 0);
	options.max_mem_mib = args_u32(a, "max-memory", 0);
	options.max_rate = args_u32(a, "max-rate", 0);
	if (args_given(a, "expires") && options.ttl_ms == 0)
		return cli_usage(c, "--expires needs a time above 0");
	int r = mvm_token_scope_parse(scope ? scope : "exec", &options.scope, &c->err);
	if (r >= 0)
		r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r >= 0)
		r = mvm_token_add(mvm, args_at(a, 0), &options, secret, &token, &c->err);
	if (r < 0)
		return r;
	if (!c->json) {
		printf("%s\n", secret);
		return 0;
	}
	put_json(&j, token, secret);
	return jsonw_print(&j, stdout);
}

static void limit_text(uint32_t n, char ret[16])
{
	if (n)
		snprintf(ret, 16, "%u", n);
	else
		memcpy(ret, "-", 2);
}

static void add_row(struct table *t, const struct mvm_token_info *k)
{
	char created[WHEN_SIZE], expires[WHEN_SIZE], instances[16], vcpus[16], memory[24], rate[16];

	when_text(k->created_at, created);
	when_text(k->expires_at, expires);
	limit_text(k->max_instances, instances);
	limit_text(k->max_vcpus, vcpus);
	limit_text(k->max_rate, rate);
	if (k->max_mem_mib)
		str_bytes((uint64_t)k->max_mem_mib << 20, memory, sizeof(memory));
	else
		memcpy(memory, "-", 2);
	table_row(t, k->name, mvm_token_scope_name(k->scope), created,
		  k->expires_at ? expires : "never", instances, vcpus, memory, rate);
}

static int list(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO_DONE(mvm_token_info_list) all = { 0 };
	AUTO_DONE(table) t = { .columns = 8 };
	AUTO_DONE(jsonw) j = { 0 };
	(void)a;

	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_token_list(mvm, &all.v, &all.n, &c->err);
	if (r < 0)
		return r;
	jsonw_open(&j, NULL, '[');
	table_row(&t, "NAME", "SCOPE", "CREATED", "EXPIRES", "INSTANCES", "VCPUS", "MEMORY",
		  "RATE");
	for (size_t i = 0; i < all.n; i++) {
		put_json(&j, all.v[i], NULL);
		add_row(&t, all.v[i]);
	}
	jsonw_close(&j);
	return c->json ? jsonw_print(&j, stdout) : table_print(&t, stdout);
}

static int remove_one(struct cli_context *c, struct mvm *mvm, const char *name,
		      const struct args *a, struct mvm_error *err)
{
	(void)c;
	(void)a;
	return mvm_token_remove(mvm, name, err);
}

static int rm(struct cli_context *c, const struct args *a)
{
	return each_positional(c, a, remove_one, "removed");
}

static const struct option json_options[] = { OPTION_JSON, { 0 } };

static const struct option add_options[] = {
	{ .name = "scope",
	  .kind = OPTION_CHOICE,
	  .value = "SCOPE",
	  .choices = "read|exec|admin",
	  .help = "what the token is good for (default: exec)" },
	{ .name = "expires",
	  .kind = OPTION_DURATION,
	  .value = "TIME",
	  .help = "how long it is good, as in 720h (default: until it is removed)" },
	OPTION_JSON,
	{ .name = "max-instances",
	  .group = "Limits",
	  .kind = OPTION_U32,
	  .value = "N",
	  .min = 1,
	  .help = "how many instances it may have at a time" },
	{ .name = "max-vcpus",
	  .group = "Limits",
	  .kind = OPTION_U32,
	  .value = "N",
	  .min = 1,
	  .help = "vCPUs of its instances together" },
	{ .name = "max-memory",
	  .group = "Limits",
	  .kind = OPTION_SIZE,
	  .value = "SIZE",
	  .min = 1,
	  .help = "memory of its instances together" },
	{ .name = "max-rate",
	  .group = "Limits",
	  .kind = OPTION_U32,
	  .value = "N",
	  .min = 1,
	  .help = "requests a second" },
	{ 0 },
};

const struct command command_token_add = {
	.path = "token add",
	.summary = "Make a token with which a program may use mvmd",
	.details = "Prints the token. It cannot be shown again: the data folder has only its "
		   "digest.\n\n'read' looks at instances, templates and logs. 'exec' also starts, "
		   "uses and ends instances. 'admin' does everything, and limits do not count for "
		   "it.",
	.examples = "mvm token add ci --expires 720h --max-instances 8 --max-memory 16G\n"
		    "mvm token add prometheus --scope read",
	.positionals = { { .name = "NAME", .help = "the token's name", .hint = VALUE_NEW_TOKEN } },
	.options = add_options,
	.run = add,
};

const struct command command_token_list = {
	.path = "token list",
	.summary = "List the tokens of mvmd with their scopes and limits",
	.options = json_options,
	.run = list,
};

const struct command command_token_rm = {
	.path = "token rm",
	.summary = "Remove tokens of mvmd",
	.details = "A removed token is good for no further request, also while mvmd runs. Its "
		   "instances go on.",
	.positionals = { { .name = "NAME",
			   .help = "the tokens",
			   .many = true,
			   .hint = VALUE_NEW_TOKEN } },
	.options = json_options,
	.run = rm,
};
