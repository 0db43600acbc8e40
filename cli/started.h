/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_STARTED_H
#define CLI_STARTED_H

/* Instances that a command has started and has not let go of yet. */

#include "command.h"
#include "handles.h"

struct started {
	struct mvm_instance **v;
	uint32_t n;
};
void started_done(struct started *l);
DEFINE_AUTO_DONE(started, started_done)

/* Print the names, one a line, and let the VMs go on by themselves.  As JSON: one record, or an
 * array of records if `counted`.  When the names cannot be printed, closing the handles ends the
 * VMs. */
int started_hand_over(struct cli_context *c, struct mvm *mvm, const struct started *list,
		      bool counted);

#endif
