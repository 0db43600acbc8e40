/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "command.h"
#include "json.h"

static int run(struct cli_context *c, const struct args *a)
{
	(void)a;
	if (!c->json) {
		(void)puts("mvm " MVM_VERSION); /* main looks at the stream's errors */
		return 0;
	}
	AUTO_DONE(json) j = { 0 };
	json_open(&j, NULL, '{');
	json_string(&j, "version", MVM_VERSION);
	json_close(&j);
	return json_print(&j, stdout);
}

static const struct option options[] = { OPTION_JSON, { 0 } };

const struct command command_version = {
	.path = "version",
	.summary = "Print the version of mvm",
	.options = options,
	.run = run,
};
