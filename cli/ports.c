/* SPDX-License-Identifier: Apache-2.0 */
#include "ports.h"

#include <errno.h>

/* Do both take one port of this host?  HOST 0 takes a free port each time. */
static bool same_host_port(const struct mvm_forward *a, const struct mvm_forward *b)
{
	const char *x = a->host_address[0] ? a->host_address : "127.0.0.1";
	const char *y = b->host_address[0] ? b->host_address : "127.0.0.1";
	return a->host_port != 0 && a->host_port == b->host_port && a->udp == b->udp &&
	       str_eq(x, y);
}

int ports_parse(struct cli_context *c, const struct strv *list, struct mvm_forward *to)
{
	if (list->n > PORTS_MAX)
		return cli_usage(c, "more than %d ports", PORTS_MAX);
	for (size_t i = 0; i < list->n; i++) {
		if (mvm_forward_parse(list->v[i], &to[i], &c->err) < 0) {
			c->usage = true;
			return -EINVAL;
		}
		for (size_t k = 0; k < i; k++) {
			if (same_host_port(&to[k], &to[i]))
				return cli_usage(c, "'%s' and '%s' take the same port of this host",
						 list->v[k], list->v[i]);
		}
	}
	return 0;
}
