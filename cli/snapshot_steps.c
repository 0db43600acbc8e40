/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot_steps.h"

#include "json.h"

void snapshot_steps_json(struct jsonw *j, const struct mvm_build_result *b)
{
	jsonw_open(j, "snapshot_steps", '[');
	for (size_t i = 0; i < b->n_snapshot_steps; i++) {
		jsonw_open(j, NULL, '{');
		jsonw_string(j, "step", b->snapshot_steps[i].name);
		jsonw_u64(j, "ns", (uint64_t)b->snapshot_steps[i].ns);
		jsonw_u64(j, "bytes", b->snapshot_steps[i].bytes);
		jsonw_close(j);
	}
	jsonw_close(j);
}
