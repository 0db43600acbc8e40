/* SPDX-License-Identifier: Apache-2.0 */
#include "rules.h"

#include <errno.h>
#include <mvm/instance.h>
#include <mvm/network.h>

#include "base/parse.h"

int rules_check(struct cli_context *c, const struct args *a)
{
	const struct strv *lists[] = { args_list(a, "allow"), args_list(a, "deny") };
	for (size_t i = 0; i < 2; i++) {
		for (size_t k = 0; k < lists[i]->n; k++) {
			if (mvm_network_rule_check(lists[i]->v[k], &c->err) == 0)
				continue;
			c->usage = true;
			return -EINVAL;
		}
	}
	return 0;
}

int name_servers_check(struct cli_context *c, const struct args *a)
{
	const struct strv *servers = args_list(a, "dns");
	for (size_t i = 0; i < servers->n; i++) {
		if (!parse_address_ok(servers->v[i]))
			return cli_usage(c, "--dns: '%s' is no address of a name server",
					 servers->v[i]);
	}
	return 0;
}
