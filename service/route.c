/* SPDX-License-Identifier: Apache-2.0 */
#include "route.h"

#include <string.h>

#include "base/str.h"
#include "console/console.h"
#include "e2b/e2b.h"
#include "v1/routes.h"

extern const struct route scrape_routes[]; /* scrape.c */

const struct route *const route_tables[] = {
	v1_root_routes,
	v1_instances_routes,
	v1_operations_routes,
	v1_templates_routes,
	v1_host_routes,
	v1_exec_routes,
	v1_exec_input_routes,
	v1_files_routes,
	v1_files_data_routes,
	v1_files_watch_routes,
	v1_logs_routes,
	v1_ports_routes,
	console_routes,
	scrape_routes,
	e2b_routes,
	e2b_envd_routes,
	NULL,
};

static bool method_fits(const char *has, const char *wanted)
{
	return strcmp(has, wanted) == 0 || (strcmp(wanted, "HEAD") == 0 && strcmp(has, "GET") == 0);
}

const struct route *route_find(const char *method, const char *path, struct route_match *ret,
			       struct strbuf *ret_allowed)
{
	for (const struct route *const *table = route_tables; *table; table++) {
		for (const struct route *r = *table; r->method; r++) {
			struct route_match m = { 0 };
			if (!route_matches(r->pattern, path, &m)) {
				route_match_done(&m);
				continue;
			}
			if (method_fits(r->method, method)) {
				*ret = m;
				return r;
			}
			route_match_done(&m);
			strbuf_addf(ret_allowed, "%s%s", ret_allowed->len ? ", " : "", r->method);
		}
	}
	return NULL;
}
