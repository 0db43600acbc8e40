/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients that follow the logs.
 *
 * They read the files themselves, and wait here for more: CALL_LOGS is answered once more was
 * written than its caller has seen.  So a follower needs no inotify(7) instance, of which a user
 * has few, and no log line wakes the followers of other instances.
 */
#include <errno.h>

#include "base/error.h"
#include "net/wire.h"
#include "supervisor/clients.h"

static void tell(struct clients *c, uint64_t client_id, uint32_t stream)
{
	AUTO_DONE(strbuf) fields = { 0 };
	wire_put_u64(&fields, FIELD_SIZE, c->logged);
	clients_reply(c, client_id, stream, NULL, &fields);
}

static bool waits(const struct clients *c, uint64_t client_id)
{
	const struct log_wait *w = c->log_waits;
	while (w && w->client_id != client_id)
		w = w->next;
	return w != NULL;
}

/* A client that has gone does not say so. */
static void forget_gone(struct clients *c)
{
	for (struct log_wait **at = &c->log_waits; *at;) {
		struct log_wait *w = *at;
		if (clients_has(c, w->client_id)) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		free(w);
		c->n_log_waits--;
	}
}

static void await_logs(struct clients *c, uint64_t client_id, const struct frame *f)
{
	struct mvm_error err = { 0 };
	uint64_t seen = 0;
	wire_find_u64(f->payload, f->len, FIELD_SIZE, UINT64_MAX, &seen);
	if (waits(c, client_id)) { /* one for each client, so that they are bounded */
		mvm_error_set(&err, -EPROTO, "that call is under way");
		clients_reply(c, client_id, f->stream, &err, NULL);
		return;
	}
	if (seen != c->logged) {
		tell(c, client_id, f->stream);
		return;
	}
	if (c->n_log_waits >= CLIENTS_MAX)
		forget_gone(c);
	struct log_wait *w = malloc(sizeof(*w));
	if (!w) {
		mvm_error_oom(&err);
		clients_reply(c, client_id, f->stream, &err, NULL);
		return;
	}
	*w = (struct log_wait){ c->log_waits, client_id, f->stream };
	c->log_waits = w;
	c->n_log_waits++;
}

bool clients_await_logs(struct clients *c, uint64_t client_id, const struct frame *f)
{
	await_logs(c, client_id, f);
	return clients_has(c, client_id);
}

static struct log_wait *take_first(struct clients *c)
{
	struct log_wait *w = c->log_waits;
	if (w) {
		c->log_waits = w->next;
		c->n_log_waits--;
	}
	return w;
}

void clients_logged(void *arg, size_t bytes)
{
	struct clients *c = arg;
	c->logged += bytes;
	for (struct log_wait *w; (w = take_first(c));) {
		tell(c, w->client_id, w->stream);
		free(w);
	}
}

void clients_forget_logs(struct clients *c)
{
	for (struct log_wait *w; (w = take_first(c));)
		free(w);
}
