/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_RULES_H
#define CLI_RULES_H

/* --allow and --deny: rules for a VM's network (doc/network.md). */

#include "command.h"
#include "options.h"

#define RULES_OPTIONS                                                                              \
	{ .name = "allow",                                                                         \
	  .kind = OPTION_LIST,                                                                     \
	  .value = "RULE",                                                                         \
	  .help = "let the guest reach it: an address or range, a domain, *.domain, "              \
		  "internet, all, or host:PORT of this host's loopback; the others may end in "    \
		  ":PORT, too",                                                                    \
	  .group = "Network" },                                                                    \
	{                                                                                          \
		.name = "deny", .kind = OPTION_LIST, .value = "RULE",                              \
		.help = "keep the guest from reaching it, unless --allow has it; all is "          \
			"everything",                                                              \
		.group = "Network"                                                                 \
	}

/* Are all of them rules?  Returns 0, or -EINVAL: wrong usage. */
int rules_check(struct cli_context *c, const struct args *a);

/* Are all values of --dns addresses?  Likewise. */
int name_servers_check(struct cli_context *c, const struct args *a);

#endif
