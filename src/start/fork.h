/* SPDX-License-Identifier: Apache-2.0 */
#ifndef START_FORK_H
#define START_FORK_H

#include "instance/instance.h"
#include "start/context.h"
#include "store/store.h"

/* The state of a running instance, as instance/saved.h describes it for a fork. */
struct fork_state {
	int fd; /* its folder */
	struct staging staging;
	struct mvm_instance *origin; /* if the folder could not be moved into staging */
};
#define FORK_STATE_NONE                                                                            \
	{                                                                                          \
		.fd = -1, .staging = STAGING_NONE                                                  \
	}
void fork_state_done(struct fork_state *s);
DEFINE_AUTO_DONE(fork_state, fork_state_done)

/* Have a running instance's state kept until *ret is done.  0 or -errno with a sentence that does
 * not name the instance. */
int fork_keep(struct mvm *mvm, const char *name, const struct mvm_progress *progress,
	      struct fork_state *ret, struct mvm_error *err);

#endif
