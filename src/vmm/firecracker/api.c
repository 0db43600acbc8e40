/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "base/clock.h"
#include "vmm/firecracker/firecracker.h"

/* Firecracker closes its socket a moment before it ends.  On a busy host that moment is long. */
#define LAST_WORDS_MS 10000

int fc_explain(struct firecracker *f, int r, int64_t deadline_ns, struct mvm_error *err)
{
	bool going = f->vmm.state == VMM_ENDED || (r == -EREMOTEIO && http_is_dead(f->http));
	if (r >= 0 || r == -ETIMEDOUT || !going)
		return r;
	int64_t patience = clock_deadline_ns(LAST_WORDS_MS);
	if (deadline_ns < patience)
		patience = deadline_ns;
	while (f->vmm.state != VMM_ENDED && clock_now_ns() < patience) {
		if (loop_run_once(f->loop, patience) < 0)
			break;
	}
	if (f->vmm.state != VMM_ENDED)
		return r;
	return words_explain(&f->words, "Firecracker", "", f->vmm.exit_status, err);
}

/* {"fault_message": "..."}, see definitions/Error. */
static int refused(const struct fc_request *q, const struct http_reply *reply,
		   struct mvm_error *err)
{
	json_t *root = json_loadb(reply->body, reply->body_len, JSON_REJECT_DUPLICATES, NULL);
	const char *fault = json_string_value(json_object_get(root, "fault_message"));
	int r = fault ? mvm_error_set(err, -EREMOTEIO, "Firecracker refused %s %s: %s", q->method,
				      q->path, fault)
		      : mvm_error_set(err, -EREMOTEIO,
				      "Firecracker refused %s %s with status %u and no reason",
				      q->method, q->path, reply->status);
	json_decref(root);
	return r;
}

static int call(struct firecracker *f, const struct fc_request *q, int64_t deadline_ns,
		struct mvm_error *err)
{
	AUTO_DONE(http_reply) reply = { 0 };
	int r = http_call(f->http, q->method, q->path, q->body, deadline_ns, &reply, err);
	if (r < 0)
		return mvm_error_context(err, fc_explain(f, r, deadline_ns, err), "%s %s",
					 q->method, q->path);
	return reply.status == 204 ? 0 : refused(q, &reply, err);
}

int fc_do(struct firecracker *f, const struct fc_requests *requests, int64_t deadline_ns,
	  struct mvm_error *err)
{
	int r = 0;
	for (size_t i = 0; i < requests->n && r == 0; i++)
		r = call(f, &requests->v[i], deadline_ns, err);
	return r;
}
