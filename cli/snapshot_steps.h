/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_SNAPSHOT_STEPS_H
#define CLI_SNAPSHOT_STEPS_H

#include <mvm/build.h>

struct jsonw;

/* Add "snapshot_steps": what making a snapshot consisted of; empty when none was made. */
void snapshot_steps_json(struct jsonw *j, const struct mvm_build_result *b);

#endif
