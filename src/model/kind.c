/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "model/model_json.h"

void mvm_template_kind_done(struct mvm_template_kind *kind)
{
	mvm_snapshot_info_done(&kind->snapshot);
	*kind = (struct mvm_template_kind){ 0 };
}

static int kind_read(const struct json_at *at, struct mvm_template_kind *kind,
		     struct mvm_error *err)
{
	struct json_at snapshot;

	if (json_is_string(at->value) && strcmp(json_string_value(at->value), "Image") == 0)
		return 0;
	if (!json_is_object(at->value) || json_object_size(at->value) != 1)
		return json_error(at, NULL, err, "expected \"Image\" or {\"Snapshot\": {...}}");
	int r = json_get_object(at, "Snapshot", JSON_REQUIRED, &snapshot, err);
	if (r < 0)
		return r;
	kind->is_snapshot = true;
	return fields_read(&snapshot_info_fields, &snapshot, &kind->snapshot, err);
}

int mvm_template_kind_parse(const char *text, size_t len, const char *name,
			    struct mvm_template_kind *ret, struct mvm_error *err)
{
	AUTO_DONE(mvm_template_kind) kind = { 0 };
	AUTO_JSON json_t *doc = NULL;
	struct json_at root;

	int r = json_read_any(text, len, name, &doc, err);
	if (r < 0)
		return r;
	json_root(&root, name, doc);
	r = kind_read(&root, &kind, err);
	if (r < 0)
		return r;
	*ret = kind;
	kind = (struct mvm_template_kind){ 0 };
	return 0;
}

json_t *template_kind_json(struct json_out *out, const struct mvm_template_kind *kind)
{
	if (!kind->is_snapshot) {
		json_t *image = json_string("Image");
		out->failed |= !image;
		return image;
	}
	json_t *o = json_new(out);
	json_put(out, o, "Snapshot", fields_json(&snapshot_info_fields, out, &kind->snapshot));
	return o;
}

int mvm_template_kind_format(const struct mvm_template_kind *kind, char **ret,
			     struct mvm_error *err)
{
	struct json_out out = { 0 };
	return json_out_text(&out, template_kind_json(&out, kind), JSON_TEXT_PRETTY, ret, err);
}

int mvm_template_kind_of(const struct mvm_template_revision *revision, const char *backend,
			 bool backend_snapshots, struct mvm_template_kind *ret,
			 struct mvm_error *err)
{
	struct mvm_template_kind kind = { 0 };

	if (revision->has_snapshot && backend_snapshots) {
		const char *maker = mvm_snapshot_info_compat(&revision->snapshot, "backend");
		kind.is_snapshot = strcmp(maker ? maker : "firecracker", backend) == 0;
	}
	if (kind.is_snapshot) {
		int r = mvm_snapshot_info_copy(&revision->snapshot, &kind.snapshot, err);
		if (r < 0)
			return r;
	}
	*ret = kind;
	return 0;
}
