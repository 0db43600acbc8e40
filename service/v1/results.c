/* SPDX-License-Identifier: Apache-2.0 */
#include "v1/results.h"

#include "codec/json.h"

json_t *text_or_null(const char *text)
{
	return str_empty(text) ? json_null() : json_string(text);
}

json_t *build_result_json(const struct mvm_build_result *b)
{
	struct json_out out = { 0 };
	json_t *o = json_new(&out), *steps = json_array();

	json_put_string(&out, o, "template_id", b->template_id);
	json_put(&out, o, "revision_hash", text_or_null(b->revision));
	json_put_string(&out, o, "cache_key", b->cache_key);
	json_put(&out, o, "new_revision", json_boolean(b->new_revision));
	json_put(&out, o, "cached", json_boolean(b->cached));
	json_put(&out, o, "has_snapshot", json_boolean(b->has_snapshot));
	json_put(&out, o, "new_snapshot", json_boolean(b->new_snapshot));
	json_put_u64(&out, o, "rootfs_bytes", b->rootfs_bytes);
	json_put_u64(&out, o, "snapshot_mem_bytes", b->snapshot_mem_bytes);
	json_put_u64(&out, o, "snapshot_disk_bytes", b->snapshot_disk_bytes);
	json_put_u64(&out, o, "build_ns", (uint64_t)b->build_ns);
	json_put_u64(&out, o, "snapshot_ns", (uint64_t)b->snapshot_ns);
	for (size_t i = 0; i < b->n_snapshot_steps; i++) {
		json_t *step = json_new(&out);
		json_put_string(&out, step, "step", b->snapshot_steps[i].name);
		json_put_u64(&out, step, "ns", (uint64_t)b->snapshot_steps[i].ns);
		json_put_u64(&out, step, "bytes", b->snapshot_steps[i].bytes);
		json_array_append_new(steps, step);
	}
	json_put(&out, o, "snapshot_steps", steps);
	if (b->why[0])
		json_put_text(&out, o, "why", b->why);
	if (!out.failed)
		return o;
	json_decref(o);
	return NULL;
}

json_t *artifact_result_json(const struct mvm_artifact_result *a)
{
	struct json_out out = { 0 };
	json_t *o = json_new(&out);
	json_put_string(&out, o, "template_id", a->template_id);
	json_put_string(&out, o, "revision_hash", a->revision);
	json_put_string(&out, o, "digest", a->digest);
	json_put(&out, o, "has_snapshot", json_boolean(a->has_snapshot));
	json_put(&out, o, "new_revision", json_boolean(a->new_revision));
	json_put(&out, o, "new_snapshot", json_boolean(a->new_snapshot));
	json_put(&out, o, "snapshot_unfit", json_boolean(a->snapshot_unfit));
	json_put(&out, o, "signed_by", text_or_null(a->signed_by));
	json_put_u64(&out, o, "reused_bytes", a->reused_bytes);
	json_put_u64(&out, o, "file_bytes", a->file_bytes);
	json_put_u64(&out, o, "blob_bytes", a->blob_bytes);
	json_put_u64(&out, o, "moved_bytes", a->moved_bytes);
	if (!out.failed)
		return o;
	json_decref(o);
	return NULL;
}
