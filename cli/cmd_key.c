/* SPDX-License-Identifier: Apache-2.0 */
#include <mvm/key.h>
#include <stdio.h>
#include <string.h>

#include "each.h"
#include "handles.h"
#include "json.h"
#include "options.h"
#include "out.h"

DEFINE_AUTO(mvm_key_info, mvm_key_info_free)
DEFINE_LIST(mvm_key_info, mvm_key_list_free)

static void put_json(struct jsonw *j, const struct mvm_key_info *k)
{
	jsonw_open(j, NULL, '{');
	jsonw_string(j, "name", k->name);
	jsonw_bool(j, "trusted", k->trusted);
	jsonw_string(j, "type", k->type);
	jsonw_string(j, "fingerprint", k->fingerprint);
	jsonw_string(j, "for", k->scope);
	jsonw_string(j, "path", k->path);
	jsonw_close(j);
}

static int print_key(struct cli_context *c, const struct mvm_key_info *k)
{
	AUTO_DONE(jsonw) j = { 0 };

	if (!c->json) {
		printf("%s  %s  %s\n", k->name, k->fingerprint, k->path);
		return 0;
	}
	put_json(&j, k);
	return jsonw_print(&j, stdout);
}

static int generate(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO(mvm_key_info) key = NULL;

	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r >= 0)
		r = mvm_key_generate(mvm, args_at(a, 0), args_string(a, "type"), &key, &c->err);
	return r < 0 ? r : print_key(c, key);
}

/* "alice" of /home/x/alice.pub */
static char *name_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	const size_t len = strlen(name), end = strlen(".pub");

	return len > end && str_eq(name + len - end, ".pub") ? strndup(name, len - end)
							     : strdup(name);
}

/* A key counts when its snapshot comes.  Say so if the key has counted for something else. */
static void note_change(const struct mvm_key_info_list *before, const struct mvm_key_info *key)
{
	for (size_t i = 0; key->scope && i < before->n; i++) {
		const struct mvm_key_info *k = before->v[i];
		if (!k->trusted || !str_eq(k->fingerprint, key->fingerprint) ||
		    (k->scope && str_eq(k->scope, key->scope)))
			continue;
		fprintf(stderr,
			"'%s' was trusted for %s: snapshots that it let in before still "
			"start; each is judged anew when it is imported or pulled again\n",
			k->name, k->scope ? k->scope : "everything");
	}
}

static int trust(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO(mvm_key_info) key = NULL;
	AUTO_DONE(mvm_key_info_list) before = { 0 };
	const char *name = args_string(a, "name");
	AUTO_FREE char *own = name ? NULL : name_of(args_at(a, 0));

	const char *scope = args_string(a, "for");
	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r >= 0 && scope)
		r = mvm_key_list(mvm, &before.v, &before.n, &c->err);
	if (r >= 0)
		r = mvm_key_trust(mvm, args_at(a, 0), name ? name : own, scope, &key, &c->err);
	if (r < 0)
		return r;
	note_change(&before, key);
	return print_key(c, key);
}

static int untrust_one(struct cli_context *c, struct mvm *mvm, const char *name,
		       const struct args *a, struct mvm_error *err)
{
	(void)c;
	(void)a;
	return mvm_key_untrust(mvm, name, err);
}

static int untrust(struct cli_context *c, const struct args *a)
{
	return each_positional(c, a, untrust_one, "untrusted");
}

static int list(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO_DONE(mvm_key_info_list) all = { 0 };
	AUTO_DONE(table) t = { .columns = 5 };
	AUTO_DONE(jsonw) j = { 0 };
	(void)a;

	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_key_list(mvm, &all.v, &all.n, &c->err);
	if (r < 0)
		return r;
	jsonw_open(&j, NULL, '[');
	table_row(&t, "NAME", "USE", "TYPE", "FINGERPRINT", "FOR");
	for (size_t i = 0; i < all.n; i++) {
		const struct mvm_key_info *k = all.v[i];
		put_json(&j, k);
		const char *scope = k->scope ? k->scope : "everything";
		table_row(&t, k->name, k->trusted ? "trusted" : "signs", k->type, k->fingerprint,
			  k->trusted ? scope : "-");
	}
	jsonw_close(&j);
	return c->json ? jsonw_print(&j, stdout) : table_print(&t, stdout);
}

static const struct option json_options[] = { OPTION_JSON, { 0 } };

static const struct option generate_options[] = {
	{ .name = "type",
	  .kind = OPTION_CHOICE,
	  .value = "TYPE",
	  .choices = "ed25519|p256",
	  .help = "the kind of keys (default: ed25519)" },
	OPTION_JSON,
	{ 0 },
};

static const struct option trust_options[] = {
	{ .name = "name",
	  .letter = 'n',
	  .kind = OPTION_STRING,
	  .value = "NAME",
	  .help = "the key's name here (default: that of the file)",
	  .hint = VALUE_NEW_KEY },
	{ .name = "for",
	  .kind = OPTION_STRING,
	  .value = "PATTERN",
	  .help = "only what comes from these repositories, as in 'reg.example/team/*'; with '**' "
		  "at the end, from all below",
	  .hint = VALUE_SCOPE },
	OPTION_JSON,
	{ 0 },
};

const struct command command_key_generate = {
	.path = "key generate",
	.summary = "Make a pair of keys to sign templates with",
	.details = "The keys are PEM files in the data folder. Give the public one, whose path is "
		   "printed, to those who are to trust your snapshots.",
	.examples = "mvm key generate release\n"
		    "mvm template export web web.tar --sign release",
	.positionals = { { .name = "NAME", .help = "the pair's name", .hint = VALUE_NEW_KEY } },
	.options = generate_options,
	.run = generate,
};

const struct command command_key_trust = {
	.path = "key trust",
	.summary = "Let snapshots that a key signed run here",
	.details = "FILE is a public key of Ed25519 or P-256 in PEM. A snapshot that was imported "
		   "or pulled "
		   "before is taken into account when it is imported or pulled again.",
	.examples = "mvm key trust release.pub --for 'reg.example/team/*'",
	.positionals = { { .name = "FILE", .help = "the public key", .hint = VALUE_FILE } },
	.options = trust_options,
	.run = trust,
};

const struct command command_key_untrust = {
	.path = "key untrust",
	.summary = "Trust keys no longer",
	.details = "Snapshots that only such a key signed start no more VMs.",
	.positionals = { { .name = "NAME",
			   .help = "the keys",
			   .many = true,
			   .hint = VALUE_NEW_KEY } },
	.options = json_options,
	.run = untrust,
};

const struct command command_key_list = {
	.path = "key list",
	.summary = "List your keys and those that you trust",
	.options = json_options,
	.run = list,
};
