/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_PORTS_H
#define CLI_PORTS_H

/* --publish: ports of this host that lead into a guest. */

#include <mvm/instance.h>

#include "base/str.h"
#include "command.h"

#define PORTS_MAX 64

/* Parse them into `to`, which has room for PORTS_MAX.  Returns 0, or -EINVAL: wrong usage. */
int ports_parse(struct cli_context *c, const struct strv *list, struct mvm_forward *to);

#endif
