/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_QUERY_H
#define SERVICE_QUERY_H

/* The query of a request's target: "name=value&name=value", with "+" and %XX decoded. */

#include <mvm/error.h>
#include <stddef.h>

struct query_param {
	char *name, *value; /* value is within name's memory, and "" without a "=" */
};

/*
 * Split and decode a query.
 *
 *   text   without the "?"; changed
 *   ret    room for max parameters; free(3) the names of *ret_n, also after a failure
 *
 * -EINVAL: a broken or NUL escape, or too many parameters; -ENOMEM.
 */
int query_parse(char *text, struct query_param *ret, size_t max, size_t *ret_n,
		struct mvm_error *err);

#endif
