/* SPDX-License-Identifier: Apache-2.0 */
#include "v1/lines.h"

#include <stdlib.h>
#include <string.h>

#include "code.h"
#include "request.h"

int lines_open(struct request *rq, const struct stream_ops *ops, void *arg, struct lines *ret,
	       struct mvm_error *err)
{
	const char *accept = request_header(rq, "Accept");
	ret->sse = accept && strcasestr(accept, "text/event-stream");
	request_add_header(rq, "Cache-Control", "no-store");
	return stream_open(rq, 200, ret->sse ? "text/event-stream" : "application/x-ndjson", ops,
			   arg, &ret->stream, err);
}

void lines_put_text(struct lines *l, const char *json)
{
	AUTO_DONE(strbuf) b = { 0 };
	if (l->sse)
		strbuf_adds(&b, "data: ");
	strbuf_adds(&b, json);
	strbuf_adds(&b, l->sse ? "\n\n" : "\n");
	if (b.failed)
		stream_abort(l->stream);
	else
		stream_write(l->stream, b.data, b.len);
}

void lines_put(struct lines *l, json_t *value)
{
	char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;
	json_decref(value);
	if (text)
		lines_put_text(l, text);
	else
		stream_abort(l->stream);
	free(text);
}

void lines_fail(struct lines *l, const struct mvm_error *err)
{
	lines_put(l, json_pack("{s:s, s:o}", "event", "error", "error", code_json(err)));
	stream_end(l->stream);
}
