/* SPDX-License-Identifier: Apache-2.0 */
#include "build_report.h"

#include <stdio.h>

#include "json.h"
#include "out.h"
#include "snapshot_steps.h"

static void report_plan(const struct mvm_build_result *b)
{
	const char *action = "change nothing", *snapshot = "";

	if (b->new_revision)
		action = b->cached ? "publish a revision" : "build a revision";
	if (b->new_snapshot)
		snapshot = " and make a snapshot";
	else if (b->has_snapshot)
		snapshot = " and keep the snapshot";
	printf("%s@%s  would %s%s: %s\n", b->template_id, b->revision[0] ? b->revision : "?",
	       action, snapshot, b->why);
}

void build_report(const struct mvm_build_result *b, struct jsonw *j, bool as_json)
{
	char rootfs[24], memory[24];
	str_bytes(b->rootfs_bytes, rootfs, sizeof(rootfs));
	str_bytes(b->snapshot_disk_bytes, memory, sizeof(memory));
	if (!as_json && b->why[0]) {
		report_plan(b);
		return;
	}
	if (!as_json) {
		printf("%s@%s  %s, image %s", b->template_id, b->revision,
		       b->new_revision ? "new" : "unchanged", rootfs);
		if (b->has_snapshot)
			printf(", %s snapshot%s%s%s", b->new_snapshot ? "new" : "kept",
			       b->new_snapshot ? " (" : "", b->new_snapshot ? memory : "",
			       b->new_snapshot ? " on disk)" : "");
		printf("\n");
		return;
	}
	jsonw_open(j, NULL, '{');
	jsonw_string(j, "template_id", b->template_id);
	jsonw_string(j, "revision_hash", b->revision[0] ? b->revision : NULL);
	jsonw_string(j, "cache_key", b->cache_key);
	jsonw_bool(j, "new_revision", b->new_revision);
	jsonw_bool(j, "cached", b->cached);
	jsonw_bool(j, "has_snapshot", b->has_snapshot);
	jsonw_bool(j, "new_snapshot", b->new_snapshot);
	jsonw_u64(j, "rootfs_bytes", b->rootfs_bytes);
	jsonw_u64(j, "snapshot_mem_bytes", b->snapshot_mem_bytes);
	jsonw_u64(j, "snapshot_disk_bytes", b->snapshot_disk_bytes);
	jsonw_u64(j, "build_ns", (uint64_t)b->build_ns);
	jsonw_u64(j, "snapshot_ns", (uint64_t)b->snapshot_ns);
	snapshot_steps_json(j, b);
	if (b->why[0])
		jsonw_string(j, "why", b->why);
	jsonw_close(j);
}
