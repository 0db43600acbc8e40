/* SPDX-License-Identifier: Apache-2.0 */
#include "model/read.h"

#include "model/template.h"
#include <errno.h>

int read_schema_version(const struct json_at *at, uint32_t *ret, struct mvm_error *err)
{
	uint64_t version = MVM_SCHEMA_VERSION;
	int r = json_get_u64(at, "schema_version", 1, UINT32_MAX, JSON_OPTIONAL, &version, err);
	if (r < 0)
		return r;
	if (version > MVM_SCHEMA_VERSION)
		return mvm_error_set(
			err, -EOPNOTSUPP,
			"%s: written by a newer mvm (schema version %u; this mvm knows %u)",
			at->key, (unsigned)version, MVM_SCHEMA_VERSION);
	*ret = (uint32_t)version;
	return 1;
}
