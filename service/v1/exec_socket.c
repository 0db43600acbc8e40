/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A command by WebSocket, protocol "mvm.exec.v1".
 *
 * The client's binary messages are input, as they are.  Its text messages are JSON:
 * {"resize":{"rows":24,"columns":80}}, {"signal":"TERM"}, {"stdin":"end"}.  The server's binary
 * messages are output: a byte, 1 stdout or 2 stderr, and then what the command wrote.  Its text
 * messages are events (exec.h).  After the last one it closes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "codec/json.h"
#include "server.h"
#include "upgrade.h"
#include "v1/exec.h"

#define PROTOCOL "mvm.exec.v1"

struct session {
	struct upgrade *upgrade;
	struct guest *guest;
	struct websocket in;
	const char *rest; /* of the input message that the guest has not taken whole */
	size_t rest_len;
	bool closing;
};

bool exec_wants_socket(const struct request *rq)
{
	const char *upgrade = request_header(rq, "Upgrade");
	return upgrade && strcasecmp(upgrade, "websocket") == 0;
}

static void send_message(struct session *s, enum websocket_opcode opcode, const void *head,
			 size_t head_len, const void *data, size_t len)
{
	AUTO_DONE(strbuf) frame = { 0 };
	websocket_put(&frame, opcode, head, head_len, data, len);
	if (frame.failed)
		upgrade_close(s->upgrade);
	else
		upgrade_write(s->upgrade, frame.data, frame.len);
	if (s->guest && upgrade_room(s->upgrade) == 0)
		guest_pause(s->guest);
}

static void send_json(struct session *s, json_t *value)
{
	char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;
	json_decref(value);
	if (text)
		send_message(s, WEBSOCKET_TEXT, "", 0, text, strlen(text));
	free(text);
}

/* Say why, and close. */
static void finish(struct session *s, enum websocket_code code, const char *reason)
{
	AUTO_DONE(strbuf) frame = { 0 };
	if (s->closing)
		return;
	s->closing = true;
	websocket_put_close(&frame, code, reason);
	if (!frame.failed)
		upgrade_write(s->upgrade, frame.data, frame.len);
	upgrade_finish(s->upgrade);
}

/* ---- from the command ---- */

static void on_event(void *arg, const struct mvm_exec_event *event)
{
	struct session *s = arg;
	char channel = event->kind == MVM_EXEC_STDERR ? 2 : 1;
	char reason[64];

	switch (event->kind) {
	case MVM_EXEC_STARTED:
		send_json(s, exec_started_json(event));
		break;
	case MVM_EXEC_STDOUT:
	case MVM_EXEC_STDERR:
		send_message(s, WEBSOCKET_BINARY, &channel, 1, event->data, event->len);
		break;
	case MVM_EXEC_EXITED:
		send_json(s, exec_exited_json(event));
		snprintf(reason, sizeof(reason), "the command has ended with %d", event->status);
		finish(s, WEBSOCKET_NORMAL, reason);
		break;
	}
}

static void on_failed(void *arg, const struct mvm_error *err)
{
	struct session *s = arg;
	send_json(s, exec_error_json(err));
	finish(s, WEBSOCKET_FAILED, err->text);
}

/* ---- from the client ---- */

/* Pass on the input that waits.  True: all of it was taken. */
static bool pass_on(struct session *s)
{
	int n = s->rest_len ? guest_write(s->guest, s->rest, s->rest_len, NULL) : 0;
	if (n < 0)
		s->rest_len = 0; /* it takes no input any more */
	else if (n > 0) {
		s->rest += n;
		s->rest_len -= (size_t)n;
	}
	return s->rest_len == 0;
}

static int control(struct session *s, const char *text, size_t len, struct mvm_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	AUTO_FREE char *name = NULL, *end = NULL;
	struct json_at root, size;
	uint64_t rows = 0, columns = 0;
	int number = 0;

	int r = json_read_object(text, len, "message", &doc, &root, err);
	if (r >= 0)
		r = json_get_object(&root, "resize", JSON_OPTIONAL, &size, err);
	if (r > 0) {
		r = json_get_u64(&size, "rows", 1, UINT16_MAX, JSON_REQUIRED, &rows, err);
		if (r >= 0)
			r = json_get_u64(&size, "columns", 1, UINT16_MAX, JSON_REQUIRED, &columns,
					 err);
		if (r >= 0)
			r = mvm_exec_resize(guest_exec(s->guest), (uint16_t)rows, (uint16_t)columns,
					    err);
	}
	if (r >= 0)
		r = json_get_string(&root, "signal", JSON_OPTIONAL, &name, err);
	if (r > 0) {
		r = exec_signal_number(name, &number, err);
		if (r >= 0)
			r = mvm_exec_signal(guest_exec(s->guest), number, err);
	}
	if (r >= 0)
		r = json_get_string(&root, "stdin", JSON_OPTIONAL, &end, err);
	if (r > 0)
		r = strcmp(end, "end") == 0 ? guest_end_input(s->guest, err)
					    : mvm_error_set(err, -EINVAL, "stdin: expected 'end'");
	guest_wrote(s->guest);
	return r;
}

static void take(struct session *s, const struct websocket_message *m)
{
	struct mvm_error err = { 0 };
	switch (m->opcode) {
	case WEBSOCKET_BINARY:
		s->rest = m->data;
		s->rest_len = m->len;
		break;
	case WEBSOCKET_TEXT:
		if (control(s, m->data, m->len, &err) < 0)
			send_json(s, exec_error_json(&err));
		break;
	case WEBSOCKET_PING:
		send_message(s, WEBSOCKET_PONG, "", 0, m->data, m->len);
		break;
	case WEBSOCKET_CLOSE:
		finish(s, WEBSOCKET_NORMAL, "");
		break;
	default:
		break;
	}
}

/* Take the messages that have come, as far as the command takes its input, and the client what we
 * answer: it may send pings without end, and read none of ours. */
static void go_on(void *arg)
{
	struct session *s = arg;
	struct websocket_message m;
	int r = 0;

	while (!s->closing && pass_on(s) && upgrade_room(s->upgrade) > 0 &&
	       (r = websocket_next(&s->in, &m)) > 0)
		take(s, &m);
	if (r < 0)
		finish(s, websocket_code_of(r), "this is no valid message");
	else if (s->rest_len > 0 || upgrade_room(s->upgrade) == 0)
		upgrade_pause(s->upgrade);
	else
		upgrade_resume(s->upgrade);
}

static void on_data(void *arg, const void *data, size_t len)
{
	struct session *s = arg;
	if (websocket_add(&s->in, data, len) < 0)
		upgrade_close(s->upgrade);
	else
		go_on(s);
}

static void on_room(void *arg)
{
	struct session *s = arg;
	guest_resume(s->guest);
	go_on(s);
}

static void on_closed(void *arg)
{
	struct session *s = arg;
	guest_close(s->guest);
	websocket_done(&s->in);
	free(s);
}

static const struct upgrade_ops upgrade_ops = { .data = on_data,
						.room = on_room,
						.closed = on_closed };
static const struct guest_ops guest_ops = { .event = on_event, .failed = on_failed, .room = go_on };

/* Does the client offer our protocol, among others? */
static bool offers(const char *list)
{
	size_t len = strlen(PROTOCOL);
	for (const char *p = list; p && *p;) {
		p += strspn(p, ", \t");
		size_t n = strcspn(p, ", \t");
		if (n == len && memcmp(p, PROTOCOL, n) == 0)
			return true;
		p += n;
	}
	return false;
}

/* The fields of the reply.  -EINVAL: this is no handshake. */
static int shake(const struct request *rq, char key[WEBSOCKET_KEY_SIZE], const char *ret[5],
		 struct mvm_error *err)
{
	const char *version = request_header(rq, "Sec-WebSocket-Version");
	const char *theirs = request_header(rq, "Sec-WebSocket-Key");
	if (!version || strcmp(version, "13") != 0 || !theirs || websocket_accept(theirs, key) < 0)
		return mvm_error_set(err, -EINVAL, "this is no handshake of a WebSocket");
	ret[0] = "Sec-WebSocket-Accept";
	ret[1] = key;
	ret[2] = NULL;
	if (offers(request_header(rq, "Sec-WebSocket-Protocol"))) {
		ret[2] = "Sec-WebSocket-Protocol";
		ret[3] = PROTOCOL;
		ret[4] = NULL;
	}
	return 0;
}

int exec_socket_open(struct request *rq, struct mvm_exec *exec, struct mvm_error *err)
{
	char key[WEBSOCKET_KEY_SIZE];
	const char *headers[5];
	const struct upgrade_reply reply = { "websocket", headers };
	struct session *s = calloc(1, sizeof(*s));

	int r = s ? shake(rq, key, headers, err) : mvm_error_oom(err);
	if (r < 0) {
		mvm_exec_close(exec);
		free(s);
		return r;
	}
	r = guest_new(rq->server->loop, exec, &guest_ops, s, &s->guest, err);
	if (r == 0)
		r = upgrade_open(rq, &reply, &upgrade_ops, s, &s->upgrade, err);
	if (r < 0) {
		guest_close(s->guest);
		free(s);
	}
	return r;
}
