/* SPDX-License-Identifier: Apache-2.0 */
/* GET /v1: what this service is. */
#include <mvm/mvm.h>

#include "codec/json.h"
#include "request.h"
#include "v1/routes.h"

/* What a client may rely on; later versions add words. */
static const char *const features[] = { "instances", "operations", "templates", "pools",
					"kernels",   "volumes",	   "exec",	"files",
					"logs",	     "events",	   "ports",	"node" };

static int get_root(struct request *rq, struct mvm_error *err)
{
	struct json_out out = { 0 };
	json_t *o = json_new(&out);
	(void)err;
	json_put_string(&out, o, "name", "mvmd");
	json_put_string(&out, o, "version", mvm_version());
	json_put_string(&out, o, "api", "v1");
	json_put_strings(&out, o, "features", (char *const *)features,
			 sizeof(features) / sizeof(*features));
	request_reply(rq, 200, o);
	return 0;
}

/* service/openapi.yaml, made a C string by the build */
extern const char openapi_yaml[];
extern const size_t openapi_yaml_len;

static int get_openapi(struct request *rq, struct mvm_error *err)
{
	(void)err;
	request_reply_text(rq, 200, "application/yaml", openapi_yaml, openapi_yaml_len);
	return 0;
}

const struct route v1_root_routes[] = {
	{ .method = "GET", .pattern = "/v1", .scope = SCOPE_NONE, .handle = get_root },
	{ .method = "GET",
	  .pattern = "/v1/openapi.yaml",
	  .scope = SCOPE_NONE,
	  .handle = get_openapi },
	{ 0 },
};
