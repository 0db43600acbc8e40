/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_KERNEL_OFFER_H
#define CLI_KERNEL_OFFER_H

#include <mvm/mvm.h>

#include "command.h"

/*
 * After a build that failed because there is no guest kernel: get Debian's, as 'mvm kernel fetch'
 * does, if --yes or the user on a terminal says so.
 *
 *   yes     --yes was given
 *   result  of the build, with c->err; anything but that failure is returned as it is
 *
 * Returns 1 (there is a kernel now: build again), or a negative errno with c->err: the build's own
 * without a yes.
 */
int kernel_offer(struct cli_context *c, struct mvm *mvm, bool yes, int result);

#define OPTION_YES                                                                                 \
	{                                                                                          \
		.name = "yes", .kind = OPTION_FLAG,                                                \
		.help = "download Debian's guest kernel without asking, if there is none"          \
	}

#endif
