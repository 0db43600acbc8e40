/* SPDX-License-Identifier: Apache-2.0 */
#include "instance_state.h"

#include <stdio.h>

void instance_state_text(const struct mvm_instance_info *info, char ret[INSTANCE_STATE_SIZE])
{
	const char *name = mvm_instance_state_name(info->state);
	bool has_ended = info->state == MVM_INSTANCE_EXITED || info->state == MVM_INSTANCE_FAILED ||
			 info->state == MVM_INSTANCE_SUSPENDED;
	if (info->state == MVM_INSTANCE_EXITED && info->exit_code >= 0)
		snprintf(ret, INSTANCE_STATE_SIZE, "%s (%d%s)", name, info->exit_code,
			 info->volumes_lost ? ", volumes lost" : "");
	else if (has_ended && info->volumes_lost)
		snprintf(ret, INSTANCE_STATE_SIZE, "%s (volumes lost)", name);
	else if (!has_ended && info->network_problem)
		snprintf(ret, INSTANCE_STATE_SIZE, "%s (no network)", name);
	else if (!has_ended && info->disk_problem)
		snprintf(ret, INSTANCE_STATE_SIZE, "%s (disk error)", name);
	else if (!has_ended && info->suspend_problem)
		snprintf(ret, INSTANCE_STATE_SIZE, "%s (not suspended)", name);
	else
		snprintf(ret, INSTANCE_STATE_SIZE, "%s", name);
}

const char *then_name(enum mvm_then then)
{
	return then == MVM_THEN_SUSPEND ? "suspend" : "stop";
}
