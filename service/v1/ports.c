/* SPDX-License-Identifier: Apache-2.0 */
/* Ports of instances, by path: /v1/instances/NAME/ports/PORT/…  By host name: request.c. */
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/parse.h"
#include "base/str.h"
#include "proxy.h"
#include "request.h"
#include "server.h"
#include "v1/routes.h"

static int begin(struct request *rq, struct mvm_error *err)
{
	uint64_t port = 0;
	if (parse_u64(request_arg(rq, 1), 1, UINT16_MAX, &port) < 0)
		return mvm_error_set(err, -ENOENT, "'%s' is no port", request_arg(rq, 1));
	AUTO_FREE char *path = str_printf("/%s", rq->match.rest);
	AUTO_FREE char *prefix = strndup(rq->target,
					 strlen(rq->target) - strlen(rq->match.rest) - 1);
	if (!path || !prefix)
		return mvm_error_oom(err);
	const struct proxy_spec spec = {
		.instance = request_arg(rq, 0),
		.port = (uint16_t)port,
		.path = path,
		.query = rq->query,
		.prefix = prefix,
		.hides_authorization = !rq->listener->path,
	};
	return proxy_begin(rq, &spec, NULL, err);
}

#define PORT(verb)                                                                                 \
	{                                                                                          \
		.method = (verb), .pattern = "/v1/instances/{name}/ports/{port}/*",                \
		.scope = SCOPE_EXEC, .raw_query = true, .begin = begin, .upload = proxy_upload,    \
		.handle = proxy_handle                                                             \
	}

const struct route v1_ports_routes[] = {
	PORT("GET"),	PORT("POST"),	 PORT("PUT"), PORT("PATCH"),
	PORT("DELETE"), PORT("OPTIONS"), { 0 },
};

/* By host name: every method and path is the guest's. */

static int begin_by_host(struct request *rq, struct mvm_error *err)
{
	char name[PROXY_NAME_SIZE];
	struct proxy_spec spec = { .instance = name,
				   .path = rq->target,
				   .query = rq->query,
				   .hides_authorization = !rq->listener->path };
	if (rq->target[0] != '/' || !proxy_host(request_header(rq, "Host"), name, &spec.port))
		return mvm_error_set(err, -ENOENT, "this host name has no port of an instance");
	return proxy_begin(rq, &spec, NULL, err);
}

const struct route v1_port_by_host = {
	.method = "*",
	.pattern = "*",
	.scope = SCOPE_EXEC,
	.raw_query = true,
	.begin = begin_by_host,
	.upload = proxy_upload,
	.handle = proxy_handle,
};
