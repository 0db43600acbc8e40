/* SPDX-License-Identifier: Apache-2.0 */
#include "model/read.h"

#include <errno.h>
#include <mvm/template.h>

int read_u8(const struct json_at *at, const char *key, uint8_t *ret, struct mvm_error *err)
{
	uint64_t n;
	int r = json_get_u64(at, key, 0, UINT8_MAX, JSON_REQUIRED, &n, err);
	if (r > 0)
		*ret = (uint8_t)n;
	return r;
}

int read_u32(const struct json_at *at, const char *key, uint32_t *ret, struct mvm_error *err)
{
	uint64_t n;
	int r = json_get_u64(at, key, 0, UINT32_MAX, JSON_REQUIRED, &n, err);
	if (r > 0)
		*ret = (uint32_t)n;
	return r;
}

int read_size(const struct json_at *at, const char *key, enum json_presence presence, uint64_t *ret,
	      struct mvm_error *err)
{
	return json_get_u64(at, key, 0, JSON_U64_MAX, presence, ret, err);
}

int read_name(const struct json_at *at, const char *key, enum name_kind kind, char **ret,
	      struct mvm_error *err)
{
	AUTO_FREE char *name = NULL;
	int r = json_get_string(at, key, JSON_REQUIRED, &name, err);
	if (r < 0)
		return r;
	if (!name_valid(kind, name))
		return json_error(at, key, err, "'%.80s': %s", name, name_rule(kind));
	free(*ret);
	*ret = TAKE_PTR(name);
	return 1;
}

int read_schema_version(const struct json_at *at, uint32_t *ret, struct mvm_error *err)
{
	uint64_t version = MVM_SCHEMA_VERSION;
	int r = json_get_u64(at, "schema_version", 1, UINT32_MAX, JSON_OPTIONAL, &version, err);
	if (r < 0)
		return r;
	if (version > MVM_SCHEMA_VERSION)
		return mvm_error_set(err, -EOPNOTSUPP,
				     "%s: written by a newer mvm (schema version %u, known is %u)",
				     at->key, (unsigned)version, MVM_SCHEMA_VERSION);
	*ret = (uint32_t)version;
	return 1;
}
