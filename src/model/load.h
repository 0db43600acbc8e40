/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_LOAD_H
#define MODEL_LOAD_H

#include "model/template.h"

/* Read revision.json in a revision's open folder.  This checks every file name in it, so the caller
 * may open them relative to that folder.  -EBADMSG also when revision.json is missing. */
int revision_load_at(int dir_fd, struct mvm_template_revision *ret, struct mvm_error *err);

#endif
