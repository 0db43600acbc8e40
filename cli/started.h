/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_STARTED_H
#define CLI_STARTED_H

/* Instances that a command starts, and has not let go of yet. */

#include "command.h"
#include "handles.h"

struct started {
	struct mvm_instance **v;
	uint32_t n;
	int signal_fd;
};
#define STARTED_NONE                                                                               \
	{                                                                                          \
		.signal_fd = -1                                                                    \
	}
void started_done(struct started *l);
DEFINE_AUTO_DONE(started, started_done)

/* Make room for n instances, and have signals cancel the start that follows by c->progress: it
 * first ends the VMs that it has begun, so the names are free again.  After that start comes
 * started_end(), with its result, which it returns. */
int started_begin(struct cli_context *c, uint32_t n, struct started *ret);
int started_end(struct cli_context *c, struct started *list, int r);

/* Print the names, one a line, and let the VMs go on by themselves.  As JSON: one record, or an
 * array of records if `counted`.  When the names cannot be printed, closing the handles ends the
 * VMs. */
int started_hand_over(struct cli_context *c, struct mvm *mvm, const struct started *list,
		      bool counted);

#endif
