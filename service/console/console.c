/* SPDX-License-Identifier: Apache-2.0 */
#include "console/console.h"

#include <errno.h>
#include <microhttpd.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "request.h"

/* ---- files ---- */

/* Everything comes from here, nothing is inline, and no page of another site may hold ours. */
static void add_safety(struct request *rq)
{
	request_add_header(
		rq, "Content-Security-Policy",
		"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
		"connect-src 'self'; base-uri 'none'; form-action 'none'; "
		"frame-ancestors 'none'");
	request_add_header(rq, "X-Content-Type-Options", "nosniff");
	request_add_header(rq, "Referrer-Policy", "no-referrer");
	request_add_header(rq, "Cross-Origin-Opener-Policy", "same-origin");
	request_add_header(rq, "Cross-Origin-Resource-Policy", "same-origin");
}

static int send_file(struct request *rq, const char *name, struct mvm_error *err)
{
	const struct console_file *file = console_files;
	while (file->name && !str_eq(file->name, name))
		file++;
	if (!file->name)
		return mvm_error_set(err, -ENOENT, "the console has no file '%.80s'", name);

	const char *known = request_header(rq, "If-None-Match");
	bool unchanged = known && strstr(known, file->etag);
	struct MHD_Response *response = MHD_create_response_from_buffer(
		unchanged ? 0 : file->len, (void *)file->data, MHD_RESPMEM_PERSISTENT);
	if (!response)
		return mvm_error_oom(err);
	add_safety(rq);
	request_add_header(rq, "Content-Type", file->type);
	request_add_header(rq, "ETag", file->etag);
	request_add_header(rq, "Cache-Control",
			   "no-cache"); /* browsers ask each time, by the ETag */
	request_reply_response(rq, unchanged ? 304 : 200, response);
	return 0;
}

static int get_index(struct request *rq, struct mvm_error *err)
{
	return send_file(rq, "index.html", err);
}

static int get_file(struct request *rq, struct mvm_error *err)
{
	return send_file(rq, request_arg(rq, 0), err);
}

static int get_folder(struct request *rq, struct mvm_error *err)
{
	(void)err;
	request_add_header(rq, "Location", "/console/");
	request_reply_text(rq, 308, "text/plain", "", 0);
	return 0;
}

/* ---- sessions ---- */

/* Does this browser have to sign in?  Whoever gets here may use the API. */
static int get_session(struct request *rq, struct mvm_error *err)
{
	(void)err;
	request_reply(rq, 200, json_pack("{s:b}", "signed_in", true));
	return 0;
}

const struct route console_routes[] = {
	{ .method = "GET", .pattern = "/console", .handle = get_folder },
	{ .method = "GET", .pattern = "/console/", .handle = get_index },
	{ .method = "GET", .pattern = "/console/session", .handle = get_session },
	{ .method = "GET", .pattern = "/console/{file}", .handle = get_file },
	{ 0 },
};
