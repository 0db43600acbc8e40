/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_RUN_VOLUMES_H
#define CLI_RUN_VOLUMES_H

/* The volumes of 'mvm run': reading the options, and copying back before an attached VM ends.
 * Afterwards what the VM wrote there is lost. */

#include <mvm/instance.h>

#include "options.h"

struct run_volumes {
	struct mvm_volume v[MVM_VOLUMES_MAX];
	size_t n;
};

/* Add the volumes of --volume, for `count` VMs. */
int run_volumes_parse(struct cli_context *c, const struct strv *list, uint32_t count,
		      struct run_volumes *to);
void run_volumes_done(struct run_volumes *l);

/* Copy the volumes back.  A signal on cancel_fd stops it. */
int run_volumes_copy_back(struct cli_context *c, struct mvm *mvm, const char *name, int cancel_fd);

/* Bring the volumes back after a command, or say that they are lost.  Returns the command's status,
 * or the error that keeps the volumes. */
int run_volumes_end(struct cli_context *c, struct mvm *mvm, struct mvm_instance *vm, int status,
		    int cancel_fd);

#endif
