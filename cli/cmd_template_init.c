/* SPDX-License-Identifier: Apache-2.0 */
/* template init */
#include <mvm/store.h>
#include <stdio.h>

#include "handles.h"
#include "json.h"
#include "options.h"

DEFINE_AUTO_DONE(mvm_strings, mvm_strings_done)

static int init(struct cli_context *c, const struct args *a)
{
	AUTO_DONE(mvm_strings) files = { 0 };
	AUTO_DONE(jsonw) j = { 0 };
	const char *dir = args_at(a, 0);

	int r = mvm_template_init(dir, args_string(a, "preset"), &files, &c->err);
	if (r < 0)
		return r;
	if (!c->json) {
		for (size_t i = 0; i < files.n; i++)
			printf("%s/%s\n", dir, files.v[i]);
		return 0;
	}
	jsonw_open(&j, NULL, '{');
	jsonw_string(&j, "dir", dir);
	jsonw_open(&j, "files", '[');
	for (size_t i = 0; i < files.n; i++)
		jsonw_string(&j, NULL, files.v[i]);
	jsonw_close(&j);
	jsonw_close(&j);
	return jsonw_print(&j, stdout);
}

static const struct option init_options[] = {
	{ .name = "preset",
	  .kind = OPTION_CHOICE,
	  .value = "NAME",
	  .help = "the preset (default: busybox)",
	  .choices = "busybox|http|nix" },
	OPTION_JSON,
	{ 0 },
};

const struct command command_template_init = {
	.path = "template init",
	.summary = "Write a template.toml to start from, and its files",
	.details = "The template.toml has comments, and builds as it is. The presets "
		   "are busybox, a small root filesystem that waits for commands; "
		   "http, a web server; and nix, a flake that builds without a "
		   "network. All contain a static busybox, copied from this host. "
		   "Existing files are never overwritten.",
	.examples = "mvm template init web --preset http\n"
		    "mvm template build --config web/template.toml --snapshot",
	.positionals = { { .name = "DIR",
			   .help = "the folder, made if it is missing",
			   .hint = VALUE_DIR } },
	.options = init_options,
	.run = init,
};
