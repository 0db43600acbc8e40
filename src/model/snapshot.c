/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "model/model_json.h"
#include "model/read.h"
#include "model/strings.h"

void mvm_snapshot_info_done(struct mvm_snapshot_info *info)
{
	free(info->boot_args);
	mvm_strings_done(&info->compat);
	json_decref(info->other);
	*info = (struct mvm_snapshot_info){ 0 };
}

int mvm_snapshot_info_copy(const struct mvm_snapshot_info *info, struct mvm_snapshot_info *ret,
			   struct mvm_error *err)
{
	bool failed = false;
	struct mvm_snapshot_info copy = *info;

	copy.compat = (struct mvm_strings){ 0 };
	copy.boot_args = str_dup(info->boot_args, &failed);
	copy.other = json_incref(info->other);
	if (strings_copy(&info->compat, &copy.compat) < 0 || failed) {
		mvm_snapshot_info_done(&copy);
		return mvm_error_oom(err);
	}
	mvm_snapshot_info_done(ret);
	*ret = copy;
	return 0;
}

int snapshot_info_read(const struct json_at *at, struct mvm_snapshot_info *ret,
		       struct mvm_error *err)
{
	static const char *const known[] = {
		"created_at",	  "vmstate_size_bytes",
		"mem_size_bytes", "boot_args",
		"vcpus",	  "mem_mib",
		"compat",
	};
	AUTO_DONE(strv) compat = { 0 };
	int r;

	if ((r = json_get_time(at, "created_at", JSON_REQUIRED, &ret->created_at, err)) < 0 ||
	    (r = read_size(at, "vmstate_size_bytes", JSON_REQUIRED, &ret->vmstate_size_bytes,
			   err)) < 0 ||
	    (r = read_size(at, "mem_size_bytes", JSON_REQUIRED, &ret->mem_size_bytes, err)) < 0 ||
	    (r = json_get_string(at, "boot_args", JSON_REQUIRED, &ret->boot_args, err)) < 0 ||
	    (r = read_u8(at, "vcpus", &ret->vcpus, err)) < 0 ||
	    (r = read_u32(at, "mem_mib", &ret->mem_mib, err)) < 0 ||
	    (r = json_get_pairs(at, "compat", JSON_NULLABLE, &compat, err)) < 0)
		return r;
	if (r > 0 && strings_take(&compat, &ret->compat) < 0)
		return mvm_error_oom(err);
	return json_unknown(at, known, MVM_ARRAY_SIZE(known), &ret->other, err);
}

json_t *snapshot_info_json(struct json_out *out, const struct mvm_snapshot_info *info)
{
	json_t *o = json_new(out);
	json_put_time(out, o, "created_at", info->created_at);
	json_put_u64(out, o, "vmstate_size_bytes", info->vmstate_size_bytes);
	json_put_u64(out, o, "mem_size_bytes", info->mem_size_bytes);
	json_put_string(out, o, "boot_args", info->boot_args);
	json_put_u64(out, o, "vcpus", info->vcpus);
	json_put_u64(out, o, "mem_mib", info->mem_mib);
	if (info->compat.n)
		json_put_pairs(out, o, "compat", info->compat.v, info->compat.n);
	json_put_others(out, o, info->other);
	return o;
}

int mvm_snapshot_info_parse(const char *text, size_t len, const char *name,
			    struct mvm_snapshot_info *ret, struct mvm_error *err)
{
	AUTO_DONE(mvm_snapshot_info) info = { 0 };
	AUTO_JSON json_t *doc = NULL;
	struct json_at root;

	int r = json_read(text, len, name, &doc, err);
	if (r < 0)
		return r;
	json_root(&root, name, doc);
	r = snapshot_info_read(&root, &info, err);
	if (r < 0)
		return r;
	*ret = info;
	info = (struct mvm_snapshot_info){ 0 };
	return 0;
}

int mvm_snapshot_info_format(const struct mvm_snapshot_info *info, char **ret,
			     struct mvm_error *err)
{
	struct json_out out = { 0 };
	return json_out_text(&out, snapshot_info_json(&out, info), JSON_TEXT_PRETTY, ret, err);
}

const char *mvm_snapshot_info_compat(const struct mvm_snapshot_info *info, const char *key)
{
	size_t len = strlen(key);
	for (size_t i = 0; i < info->compat.n; i++) {
		const char *pair = info->compat.v[i];
		if (strncmp(pair, key, len) == 0 && pair[len] == '=')
			return pair + len + 1;
	}
	return NULL;
}
