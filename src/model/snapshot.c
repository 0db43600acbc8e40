/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/error.h"
#include "model/model_json.h"
#include "model/strings.h"

static const struct field fields[] = {
	FIELD_TIME(mvm_snapshot_info, created_at),
	FIELD_SIZE(mvm_snapshot_info, vmstate_size_bytes, FIELD_REQUIRED),
	FIELD_SIZE(mvm_snapshot_info, mem_size_bytes, FIELD_REQUIRED),
	FIELD_STRING(mvm_snapshot_info, boot_args, FIELD_REQUIRED),
	FIELD_U8(mvm_snapshot_info, vcpus),
	FIELD_U32(mvm_snapshot_info, mem_mib),
	FIELD_PAIRS(mvm_snapshot_info, compat),
	FIELD_STRING(mvm_snapshot_info, origin, FIELD_SPARSE),
	FIELD_STRING(mvm_snapshot_info, signed_by, FIELD_SPARSE),
};

const struct fields snapshot_info_fields = FIELDS(mvm_snapshot_info, fields);

void mvm_snapshot_info_done(struct mvm_snapshot_info *info)
{
	fields_done(&snapshot_info_fields, info);
}

int mvm_snapshot_info_copy(const struct mvm_snapshot_info *info, struct mvm_snapshot_info *ret,
			   struct mvm_error *err)
{
	bool failed = false;
	struct mvm_snapshot_info copy = *info;

	copy.compat = (struct mvm_strings){ 0 };
	copy.boot_args = str_dup(info->boot_args, &failed);
	copy.origin = str_dup(info->origin, &failed);
	copy.signed_by = str_dup(info->signed_by, &failed);
	copy.other = json_incref(info->other);
	if (strings_copy(&info->compat, &copy.compat) < 0 || failed) {
		mvm_snapshot_info_done(&copy);
		return mvm_error_oom(err);
	}
	mvm_snapshot_info_done(ret);
	*ret = copy;
	return 0;
}

int mvm_snapshot_info_parse(const char *text, size_t len, const char *name,
			    struct mvm_snapshot_info *ret, struct mvm_error *err)
{
	return fields_parse(&snapshot_info_fields, text, len, name, ret, err);
}

int mvm_snapshot_info_format(const struct mvm_snapshot_info *info, char **ret,
			     struct mvm_error *err)
{
	return fields_format(&snapshot_info_fields, info, ret, err);
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
