/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_INSTANCE_STATE_H
#define CLI_INSTANCE_STATE_H

#include <mvm/instance.h>

/* An instance's state for people: "running", "running (no network)", "exited (3)". */
#define INSTANCE_STATE_SIZE 32
void instance_state_text(const struct mvm_instance_info *info, char ret[INSTANCE_STATE_SIZE]);

/* "stop" or "suspend". */
const char *then_name(enum mvm_then then);

#endif
