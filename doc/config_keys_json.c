/* SPDX-License-Identifier: Apache-2.0 */
/* Print the table of template.toml's keys as JSON, for scripts/make-config-doc. */
#include <jansson.h>
#include <stdio.h>

#include "model/config_keys.h"

int main(void)
{
	json_t *all = json_array();

	for (size_t i = 0; i < CONFIG_KEYS_N; i++) {
		const struct config_key *k = &config_keys[i];
		json_t *o = json_pack(
			"{ss sb sb sb sb sb ss si sI ss? ss ss ss}", "name", k->name, "top",
			k->scopes & CONFIG_TOP, "variant", k->scopes & CONFIG_VARIANT, "health",
			k->scopes & CONFIG_HEALTH, "snapshot", k->scopes & CONFIG_SNAPSHOT,
			"network_table", k->scopes & CONFIG_NETWORK, "type", k->type, "min",
			(int)k->min, "max", (json_int_t)k->max, "limits", k->limits, "default",
			k->by_default, "help", k->help, "example", k->example);
		if (json_array_append_new(all, o) < 0)
			return 1;
	}
	int r = json_dumpf(all, stdout, JSON_INDENT(1));
	json_decref(all);
	return r < 0 || fflush(stdout) != 0;
}
