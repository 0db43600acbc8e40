/* SPDX-License-Identifier: Apache-2.0 */
#include "query.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "route.h"

int query_parse(char *text, struct query_param *ret, size_t max, size_t *ret_n,
		struct mvm_error *err)
{
	for (char *part; (part = strsep(&text, "&"));) {
		if (!*part)
			continue;
		if (*ret_n == max)
			return mvm_error_set(err, -EINVAL, "the query has more than %zu parameters",
					     max);
		for (char *p = part; *p; p++)
			*p = *p == '+' ? ' ' : *p;
		char *name = strdup(part);
		if (!name)
			return mvm_error_oom(err);
		struct query_param *param = &ret[(*ret_n)++];
		param->name = name;
		param->value = name + strcspn(name, "=");
		if (*param->value)
			*param->value++ = '\0';
		if (percent_decode(param->name) < 0 || percent_decode(param->value) < 0)
			return mvm_error_set(err, -EINVAL, "the query has a broken escape");
	}
	return 0;
}
