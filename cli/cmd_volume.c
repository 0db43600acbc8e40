/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <mvm/volume.h>
#include <stdio.h>

#include "each.h"
#include "handles.h"
#include "json.h"
#include "options.h"
#include "out.h"
#include "progress.h"

DEFINE_AUTO(mvm_volume_info, mvm_volume_info_free)
DEFINE_LIST(mvm_volume_info, mvm_volume_list_free)

static void put_json(struct jsonw *j, const struct mvm_volume_info *v)
{
	jsonw_open(j, NULL, '{');
	jsonw_string(j, "name", v->name);
	jsonw_string(j, "problem", v->problem);
	if (!v->problem) {
		jsonw_string(j, "path", v->path);
		jsonw_u64(j, "bytes", v->bytes);
		jsonw_bool(j, "in_use", v->in_use);
	}
	jsonw_close(j);
}

static int list(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO_DONE(mvm_volume_info_list) all = { 0 };
	AUTO_DONE(table) t = { .columns = 3 };
	AUTO_DONE(jsonw) j = { 0 };
	(void)a;

	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_volume_list(mvm, NULL, &all.v, &all.n, &c->err);
	if (r < 0)
		return r;
	jsonw_open(&j, NULL, '[');
	table_row(&t, "NAME", "SIZE", "IN USE");
	for (size_t i = 0; i < all.n; i++) {
		char size[32];
		str_bytes(all.v[i]->bytes, size, sizeof(size));
		put_json(&j, all.v[i]);
		if (all.v[i]->problem && !c->json)
			note(c, all.v[i]->problem);
		table_row(&t, all.v[i]->name, all.v[i]->problem ? "unreadable" : size,
			  all.v[i]->in_use ? "yes" : "no");
	}
	jsonw_close(&j);
	return c->json ? jsonw_print(&j, stdout) : table_print(&t, stdout);
}

static int inspect(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO(mvm_volume_info) info = NULL;
	AUTO_DONE(jsonw) j = { 0 };
	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_volume_inspect(mvm, args_at(a, 0), NULL, &info, &c->err);
	if (r < 0)
		return r;
	assert(info);
	put_json(&j, info);
	return jsonw_print(&j, stdout);
}

static int rm_one(struct cli_context *c, struct mvm *mvm, const char *name, const struct args *a,
		  struct mvm_error *err)
{
	(void)c;
	(void)a;
	return mvm_volume_remove(mvm, name, NULL, err); /* Ctrl-C ends mvm */
}

static int rm(struct cli_context *c, const struct args *a)
{
	return each_positional(c, a, rm_one, "removed");
}

static const struct option json_options[] = { OPTION_JSON, { 0 } };

const struct command command_volume_list = {
	.path = "volume list",
	.summary = "List named volumes",
	.details = "'mvm run -v NAME:GUEST' makes a volume when it first names it. "
		   "SIZE is the size of its files.",
	.options = json_options,
	.run = list,
};

const struct command command_volume_inspect = {
	.path = "volume inspect",
	.summary = "Show a named volume's folder and size, as JSON",
	.positionals = { { .name = "NAME", .help = "the volume", .hint = VALUE_VOLUME } },
	.options = json_options,
	.run = inspect,
};

const struct command command_volume_rm = {
	.path = "volume rm",
	.summary = "Remove named volumes with their contents",
	.details = "Refuses a volume that a running VM may write to, and a folder that no VM has "
		   "used as a volume (exit status 4).",
	.positionals = { { .name = "NAME",
			   .help = "the volumes",
			   .many = true,
			   .hint = VALUE_VOLUME } },
	.options = json_options,
	.run = rm,
};
