/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <mvm/instance.h>
#include <string.h>

#include "base/error.h"
#include "base/parse.h"
#include "base/str.h"

int mvm_restart_parse(const char *text, enum mvm_restart *ret, uint32_t *ret_max,
		      struct mvm_error *err)
{
	static const char *const names[] = { "no", "on-failure", "always", "unless-stopped" };
	static const char counted[] = "on-failure:";
	uint64_t max = 0;

	for (size_t i = 0; i < MVM_ARRAY_SIZE(names); i++) {
		if (!str_eq(text, names[i]))
			continue;
		*ret = (enum mvm_restart)i;
		*ret_max = 0;
		return 0;
	}
	if (!str_starts(text, counted) ||
	    parse_u64(text + strlen(counted), 1, UINT32_MAX, &max) < 0)
		return mvm_error_set(err, -EINVAL,
				     "'%s' is no restart policy: no, on-failure[:N], always or "
				     "unless-stopped",
				     text);
	*ret = MVM_RESTART_ON_FAILURE;
	*ret_max = (uint32_t)max;
	return 0;
}
