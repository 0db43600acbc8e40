/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_SNAPSHOT_STEPS_H
#define CLI_SNAPSHOT_STEPS_H

#include <mvm/build.h>

struct jsonw;

/* Add "snapshot_steps", the steps of making a snapshot; empty when none was made. */
void snapshot_steps_json(struct jsonw *j, const struct mvm_build_result *b);

#endif
