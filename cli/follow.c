/* SPDX-License-Identifier: Apache-2.0 */
#include "follow.h"

#include <errno.h>

#include "guest_command.h"
#include "options.h"

int follow_open(struct cli_context *c, const struct args *a, struct mvm **ret, int *ret_cancel_fd)
{
	int r = mvm_open(c->data_dir, ret, &c->err);
	if (r == 0)
		*ret_cancel_fd = args_flag(a, "follow") ? guest_signals_block(false) : -1;
	return r;
}

int follow_result(struct cli_context *c, int r, int cancel_fd)
{
	(void)guest_signals_take(cancel_fd); /* the one that ended this, if it was one */
	if (r == -EINVAL)
		c->usage = true;
	return r;
}
