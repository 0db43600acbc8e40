/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/clients.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/sock.h"
#include "net/message.h"
#include "net/wire.h"
#include "supervisor/clients_streams.h"

#define BROKE_PROTOCOL "guest-broke-protocol"

void job_free(struct job *j)
{
	if (!j)
		return;
	strbuf_done(&j->args);
	free(j);
}

static struct client *find_client(const struct clients *c, uint64_t id)
{
	struct client *client = c->list;
	while (client && client->id != id)
		client = client->next;
	return client;
}

bool clients_has(const struct clients *c, uint64_t client_id)
{
	return find_client(c, client_id) != NULL;
}

bool clients_has_leash(const struct clients *c)
{
	return clients_has(c, c->leash_id);
}

static void drop_client(struct client *client)
{
	struct clients *c = client->owner;
	uint64_t id = client->id;

	while (client->streams)
		stream_reset(c, client->streams);
	*client->link = client->next;
	if (client->next)
		client->next->link = client->link;
	c->n_clients--;
	loop_source_free(client->source);
	close(client->channel.fd);
	channel_done(&client->channel);
	free(client);
	if (id == c->leash_id && c->on_leash_gone)
		c->on_leash_gone(c->arg);
	c->some_left = true;
}

/* What a write to the client returned.  -EPIPE is no error yet: what a client sent before it closed
 * its end is still read, and then it is dropped. */
static int wrote(struct client *client, int r)
{
	if (r != -EPIPE)
		return r;
	client->deaf = true;
	queue_take(&client->channel.out, channel_queued(&client->channel));
	return 0;
}

/* Returns false when the client had to be dropped. */
static bool send_to(struct client *client, uint8_t type, uint32_t stream, const void *payload,
		    size_t len)
{
	if (client->deaf)
		return true;
	int r = wrote(client, channel_send(&client->channel, type, stream, payload, len));
	if (r == 0)
		r = loop_source_set_events(client->source, channel_events(&client->channel));
	if (r < 0) {
		drop_client(client);
		return false;
	}
	channel_trim(&client->channel);
	return true;
}

static bool refuse_because(struct client *client, uint32_t stream, int status, const char *message,
			   const char *reason)
{
	AUTO_DONE(strbuf) b = { 0 };
	AUTO_DONE(strbuf) why = { 0 };
	if (reason)
		wire_put_str(&why, FIELD_REASON, reason);
	return message_put_reply(&b, status, message, &why) < 0 ||
	       send_to(client, FRAME_REPLY, stream, b.data, b.len);
}

static bool refuse(struct client *client, uint32_t stream, int status, const char *message)
{
	return refuse_because(client, stream, status, message, NULL);
}

void clients_reply(struct clients *c, uint64_t client_id, uint32_t stream,
		   const struct mvm_error *err, const struct strbuf *fields)
{
	AUTO_DONE(strbuf) b = { 0 };
	AUTO_DONE(strbuf) all = { 0 };
	struct client *client = find_client(c, client_id);

	if (!client)
		return;
	if (err && err->reason[0])
		wire_put_str(&all, FIELD_REASON, err->reason);
	if (fields)
		strbuf_add(&all, fields->data, fields->len);
	all.failed |= fields && fields->failed;
	if (message_put_reply(&b, err ? -err->code : 0, err ? err->text : NULL, &all) < 0)
		drop_client(client);
	else
		send_to(client, FRAME_REPLY, stream, b.data, b.len);
}

static bool queue_job(struct client *client, const struct frame *f, unsigned call)
{
	struct clients *c = client->owner;
	struct job *j = calloc(1, sizeof(*j));
	if (j)
		strbuf_add(&j->args, f->payload, f->len);
	if (!j || j->args.failed) {
		job_free(j);
		return refuse(client, f->stream, ENOMEM, "out of memory");
	}
	j->client_id = client->id;
	j->stream = f->stream;
	j->call = call;
	*c->jobs_end = j;
	c->jobs_end = &j->next;
	if (c->on_job)
		c->on_job(c->arg, j);
	return true;
}

/* Nothing can be asked of the guest any more. */
static bool refuse_gone(struct client *client, uint32_t stream)
{
	const struct clients *c = client->owner;
	const char *message = c->goodbye[0] ? c->goodbye : "the VM has ended";

	if (c->agent->misbehaved)
		return refuse_because(client, stream, EPROTO,
				      "the guest broke the agent protocol, so nothing can be asked "
				      "of it any more",
				      BROKE_PROTOCOL);
	/* a VM that said goodbye may be about to be started again */
	return refuse_because(client, stream, ESRCH, message,
			      c->goodbye[0] ? NULL : "instance-ended");
}

static bool open_stream(struct client *client, const struct frame *f, bool exec, bool copy)
{
	struct clients *c = client->owner;

	if (c->no_agent)
		return refuse(client, f->stream, EOPNOTSUPP, c->no_agent);
	if (c->guest_gone)
		return refuse_gone(client, f->stream);
	if (c->guest_paused)
		return refuse_because(client, f->stream, EBUSY, "the VM is paused", "vm-paused");
	if (f->stream == 0 || stream_find(client, f->stream))
		return refuse(client, f->stream, EPROTO, "that stream id is in use");
	struct stream *s = stream_take(c);
	if (!s)
		return refuse(client, f->stream, EAGAIN, "too many calls at once");
	int r = agent_client_send(c->agent, FRAME_CALL, stream_guest_id(c, s), f->payload, f->len);
	if (r < 0)
		stream_end(c, s);
	if (r == -EBUSY)
		return refuse(client, f->stream, EBUSY, "the VM is being captured");
	if (r < 0)
		return refuse(client, f->stream, EAGAIN,
			      r == -ENOBUFS ? "the guest does not take any more calls"
					    : "the guest's agent cannot be reached");
	*s = (struct stream){
		.used = true,
		.exec = exec,
		.copy = copy,
		.client = client,
		.next = client->streams,
		.client_stream = f->stream,
		.guest_window = WINDOW_BYTES,
		.client_window = WINDOW_BYTES,
	};
	client->streams = s;
	if (exec)
		stream_note_use(c, 1);
	return true;
}

/* Does the supervisor itself do this? */
static bool is_job(uint64_t call)
{
	return (call >= CALL_INSPECT && call <= CALL_KEEP) || call == CALL_NETWORK ||
	       call == CALL_RENAME || call == CALL_SUSPEND || call == CALL_FORK || call == CALL_TTL;
}

static bool take_call(struct client *client, const struct frame *f)
{
	const struct clients *c = client->owner;
	uint64_t call;

	if (!wire_find_u64(f->payload, f->len, FIELD_CALL, UINT64_MAX, &call))
		return refuse(client, f->stream, EPROTO, "a call without a number");
	if (call == CALL_ALIVE)
		return refuse(client, f->stream, 0, NULL);
	bool patient = call == CALL_STOP || call == CALL_WAIT || call == CALL_INSPECT ||
		       call == CALL_KEEP || call == CALL_LOGS;
	if (c->busy && !patient && !client->own && (!c->guest_gone || c->comes_back))
		return refuse(client, f->stream, EBUSY, c->busy);
	switch (call) {
	case CALL_PING:
	case CALL_HEALTH:
	case CALL_AWAIT:
	case CALL_SIGNAL:
	case CALL_PROCESSES:
	case CALL_KEPT_LIST:
		return open_stream(client, f, false, false);
	case CALL_EXEC:
	case CALL_PUT:
	case CALL_GET:
	case CALL_COMMIT:
	case CALL_KEPT_START:
	case CALL_KEPT_ATTACH:
	case CALL_FILES:
	case CALL_CONNECT:
		return open_stream(client, f, true,
				   call == CALL_PUT || call == CALL_GET || call == CALL_COMMIT);
	case CALL_LOGS:
		return clients_await_logs(client->owner, client->id, f);
	default:
		if (is_job(call))
			return queue_job(client, f, (unsigned)call);
		return refuse(client, f->stream, EOPNOTSUPP, "no such call");
	}
}

/* Returns false when the client was dropped. */
static bool take_client_frame(struct client *client, const struct frame *f)
{
	struct clients *c = client->owner;
	if (f->type == FRAME_CALL)
		return take_call(client, f);

	struct stream *s = stream_find(client, f->stream);
	if (!s || s->cancelled)
		return true; /* it ended while this was on its way, or ends */
	if (f->type == FRAME_DATA) {
		uint32_t bytes = f->len ? f->len - 1 : 0;
		if (f->len == 0 || bytes > s->client_window || bytes > DATA_MAX) {
			drop_client(client);
			return false;
		}
		s->client_window -= bytes;
	} else if (f->type == FRAME_CREDIT) {
		uint32_t credit = message_get_credit(f->payload, f->len);
		if (credit > WINDOW_BYTES - s->guest_window) {
			drop_client(client);
			return false;
		}
		s->guest_window += credit;
	} else if (f->type == FRAME_RESET) {
		stream_cancel(c, s); /* the client gets the guest's END */
		return true;
	} else if (f->type != FRAME_SIGNAL && f->type != FRAME_RESIZE) {
		drop_client(client);
		return false;
	}
	if (agent_client_send(c->agent, f->type, stream_guest_id(c, s), f->payload, f->len) ==
	    -ENOBUFS)
		stream_reset(c, s);
	return true;
}

void clients_on_guest_frame(void *arg, const struct frame *f)
{
	struct clients *c = arg;
	if (f->stream == 0 || f->stream > STREAMS_MAX || !c->streams[f->stream - 1].used)
		return; /* an answer to something that is over */

	struct stream *s = &c->streams[f->stream - 1];
	struct client *client = s->client;
	uint32_t client_stream = s->client_stream;
	struct wire_field reason;

	/* What goes on to a client that may be slow is bounded by its window, or comes once: else
	 * the guest could fill our memory with it. */
	if (f->type == FRAME_DATA) {
		uint32_t bytes = f->len ? f->len - 1 : 0;
		unsigned channel = f->len ? 1u << (f->payload[0] & 7u) : UINT8_MAX;
		if (bytes > s->guest_window || bytes > DATA_MAX) {
			stream_reset(c, s);
			if (client)
				refuse_because(client, client_stream, EPROTO,
					       "the guest broke the agent protocol: it sent more "
					       "than it may",
					       BROKE_PROTOCOL);
			return;
		}
		if (s->ended & channel || f->len == 0)
			return;
		if (bytes == 0)
			s->ended |= (uint8_t)channel;
		s->guest_window -= bytes;
	} else if (f->type == FRAME_CREDIT) {
		uint32_t credit = message_get_credit(f->payload, f->len);
		if (credit == 0 || credit > WINDOW_BYTES - s->client_window)
			return; /* more than was sent */
		s->client_window += credit;
	} else if (f->type == FRAME_END) {
		stream_end(c, s);
	} else if (f->type == FRAME_REPLY) {
		if (s->started)
			return;
		if (wire_find(f->payload, f->len, FIELD_REASON, &reason) > 0) {
			/* what users are told to do about it is no guest's to choose */
			stream_reset(c, s);
			if (client)
				refuse_because(client, client_stream, EPROTO,
					       "the guest broke the agent protocol: its answer has "
					       "a supervisor's part",
					       BROKE_PROTOCOL);
			return;
		}
		s->started = true;
		if (!s->exec || message_get_status(f->payload, f->len, NULL) != 0)
			stream_end(c, s);
	} else {
		return;
	}
	if (client)
		send_to(client, f->type, client_stream, f->payload, f->len);
}

static void on_client(void *arg, uint32_t events)
{
	struct client *client = arg;
	struct frame f;
	int r = 0;

	if (events & EPOLLOUT)
		r = wrote(client, channel_flush(&client->channel));
	while (r >= 0 && (r = channel_receive(&client->channel, &f)) > 0) {
		if (!take_client_frame(client, &f))
			return;
	}
	if (r == 0)
		r = loop_source_set_events(client->source, channel_events(&client->channel));
	if (r < 0)
		drop_client(client);
	else
		channel_trim(&client->channel);
}

static int add_client(struct clients *c, int fd, uint64_t *ret_id)
{
	struct client *client = calloc(1, sizeof(*client));
	if (!client)
		return -ENOMEM;
	int r = fcntl(fd, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
	if (r == 0)
		r = loop_add_fd(c->loop, fd, EPOLLIN, on_client, client, &client->source);
	if (r < 0) {
		free(client);
		return r;
	}
	client->owner = c;
	client->channel = (struct channel){ .fd = fd, .out_limit = 64u << 20 };
	client->id = ++c->last_id;
	client->next = c->list;
	client->link = &c->list;
	if (client->next)
		client->next->link = &client->next;
	c->list = client;
	c->n_clients++;
	if (ret_id)
		*ret_id = client->id;
	return 0;
}

static void on_connection(void *arg, uint32_t events)
{
	struct clients *c = arg;
	(void)events;

	for (;;) {
		AUTO_CLOSE int fd = sock_accept(c->listen_fd);
		uid_t uid;
		if (fd < 0)
			return; /* nobody else, or it has gone already */
		if (sock_peer_uid(fd, &uid) < 0 || (uid != c->owner && uid != 0))
			continue;
		if (c->n_clients < CLIENTS_MAX && add_client(c, fd, NULL) == 0)
			fd = -1; /* the client's now */
	}
}

int clients_init(struct clients *c, struct loop *loop, struct agent_client *agent)
{
	*c = (struct clients){ .loop = loop, .agent = agent, .listen_fd = -1 };
	c->owner = geteuid();
	c->jobs_end = &c->jobs;
	c->streams = calloc(STREAMS_MAX, sizeof(*c->streams));
	return c->streams ? 0 : -ENOMEM;
}

int clients_add_own(struct clients *c, int fd, uint64_t *ret_id)
{
	int r = add_client(c, fd, ret_id);
	if (r == 0)
		find_client(c, *ret_id)->own = true;
	return r;
}

int clients_add_leash(struct clients *c, int fd)
{
	return add_client(c, fd, &c->leash_id);
}

uint64_t clients_move_leash(struct clients *c, uint64_t client_id)
{
	uint64_t before = c->leash_id;
	c->leash_id = client_id;
	return before;
}

void clients_hang_up(struct clients *c, uint64_t client_id)
{
	struct client *client = find_client(c, client_id);
	if (client)
		drop_client(client);
}

static void stop_listening(struct clients *c)
{
	loop_source_free(TAKE_PTR(c->listen_source));
	auto_close(&c->listen_fd);
	c->listen_fd = -1;
}

void clients_keep_leash(struct clients *c)
{
	stop_listening(c);
	for (struct client *client = c->list, *next; client; client = next) {
		next = client->next;
		if (client->id != c->leash_id)
			drop_client(client);
	}
}

int clients_listen(struct clients *c, int listen_fd)
{
	c->listen_fd = listen_fd;
	return loop_add_fd(c->loop, listen_fd, EPOLLIN, on_connection, c, &c->listen_source);
}

void clients_guest_gone(struct clients *c)
{
	c->guest_gone = true;
	for (unsigned i = 0; i < c->n_streams; i++) {
		struct stream *s = &c->streams[i];
		if (!s->used)
			continue;
		struct client *client = s->client;
		stream_end(c, s);
		if (client)
			refuse_gone(client, s->client_stream);
	}
}

void clients_end_copies(struct clients *c, const char *why)
{
	for (unsigned i = 0; i < c->n_streams; i++) {
		struct stream *s = &c->streams[i];
		struct client *client = s->client;
		if (!s->used || !s->copy || !client)
			continue;
		stream_reset(c, s);
		refuse(client, s->client_stream, EBUSY, why);
	}
}

void clients_say_goodbye(struct clients *c, const char *why)
{
	snprintf(c->goodbye, sizeof(c->goodbye), "%s", why);
	clients_guest_gone(c);
}

void clients_guest_back(struct clients *c)
{
	c->guest_gone = false;
	c->goodbye[0] = '\0';
}

struct job *clients_next_job(struct clients *c)
{
	struct job *j = c->jobs;
	if (!j)
		return NULL;
	c->jobs = j->next;
	if (!c->jobs)
		c->jobs_end = &c->jobs;
	j->next = NULL;
	return j;
}

bool clients_want_write(const struct clients *c)
{
	for (const struct client *client = c->list; client; client = client->next) {
		if (channel_wants_write(&client->channel))
			return true;
	}
	return false;
}

void clients_done(struct clients *c)
{
	c->on_leash_gone = NULL;
	while (c->list)
		drop_client(c->list);
	stop_listening(c);
	for (struct job *j; (j = clients_next_job(c));)
		job_free(j);
	clients_forget_logs(c);
	free(c->streams);
}
