/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "command.h"
#include "json.h"

static int run(struct cli_context *c, const struct args *a)
{
	(void)a;
	if (!c->json) {
		puts("mvm " MVM_VERSION); /* main looks at the stream's errors */
		return 0;
	}
	AUTO_DONE(jsonw) j = { 0 };
	jsonw_open(&j, NULL, '{');
	jsonw_string(&j, "version", MVM_VERSION);
	jsonw_close(&j);
	return jsonw_print(&j, stdout);
}

static const struct option options[] = { OPTION_JSON, { 0 } };

const struct command command_version = {
	.path = "version",
	.summary = "Print the version of mvm",
	.options = options,
	.run = run,
};
