/* SPDX-License-Identifier: Apache-2.0 */
#ifndef START_AGAIN_H
#define START_AGAIN_H

#include <mvm/instance.h>

#include "base/own.h"
#include "instance/record.h"

/* A record, and the options of a start that would make it. */
struct again {
	struct record record;
	char *template_ref;
	struct mvm_forward forwards[RECORD_FORWARDS_MAX];
	struct mvm_volume volumes[RECORD_VOLUMES_MAX]; /* borrow from the record */
	const char **env;			       /* likewise */
	struct mvm_start_options options;
};

/* Fill in what the record, which the caller has loaded, says.  -ENOMEM. */
int again_options(struct again *a, struct mvm_error *err);
void again_done(struct again *a);
DEFINE_AUTO_DONE(again, again_done)

#endif
