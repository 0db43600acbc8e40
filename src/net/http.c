/* SPDX-License-Identifier: Apache-2.0 */
#include "net/http.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "base/str.h"

enum state {
	IDLE,
	CALLING, /* a request was sent, or is being sent */
	DEAD,
};

struct http {
	struct loop *loop;
	struct loop_source *source;
	int fd;
	const char *peer;
	enum state state;
	struct mvm_error death; /* why, once DEAD */
	struct strbuf out;	/* bytes that the peer has not taken yet */
	struct strbuf in;
	struct http_head head;
	size_t head_len; /* 0: not whole yet */
	bool answered;
	struct http_reply reply; /* once answered */
};

void http_reply_done(struct http_reply *r)
{
	free(r->body);
	*r = (struct http_reply){ 0 };
}

static void die(struct http *h, int code, const char *what)
{
	if (h->state == DEAD)
		return;
	h->state = DEAD;
	mvm_error_set(&h->death, code, "%s %s", h->peer, what);
	loop_source_free(TAKE_PTR(h->source));
}

static void die_of_errno(struct http *h, int code)
{
	die(h, -EREMOTEIO, strerror(-code));
	mvm_error_context(&h->death, h->death.code, "the connection to %s broke", h->peer);
}

static void flush_out(struct http *h)
{
	size_t sent = 0;
	while (sent < h->out.len) {
		ssize_t n = send(h->fd, h->out.data + sent, h->out.len - sent, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
			return; /* reading will report it, after the peer's last words */
		if (n < 0) {
			die_of_errno(h, -errno);
			return;
		}
		sent += (size_t)n;
	}
	strbuf_consume(&h->out, sent);
	int r = loop_source_set_events(h->source, EPOLLIN | (h->out.len ? EPOLLOUT : 0));
	if (r < 0)
		die_of_errno(h, r);
}

static void take_answer(struct http *h)
{
	if (h->head_len == 0) {
		struct mvm_error why;
		int n = http_head_parse(h->in.data, h->in.len, &h->head, &why);
		if (n < 0) {
			die(h, n, "broke the protocol");
			mvm_error_set(&h->death, n, "%s broke the protocol: %s", h->peer, why.text);
		}
		if (n <= 0)
			return;
		h->head_len = (size_t)n;
	}
	if (h->in.len < h->head_len + h->head.body_len)
		return;
	if (h->in.len > h->head_len + h->head.body_len) {
		die(h, -EPROTO, "sent an answer without a request");
		return;
	}
	strbuf_consume(&h->in, h->head_len);
	struct strbuf body = h->in;
	h->in = (struct strbuf){ 0 };
	strbuf_add(&body, "", 0); /* an empty body must be a string, not NULL */
	h->reply = (struct http_reply){
		.status = h->head.status,
		.body_len = h->head.body_len,
		.body = strbuf_take(&body),
	};
	h->head_len = 0;
	h->answered = true;
	if (!h->reply.body)
		die(h, -ENOMEM, "sent an answer, but memory ran out");
	else if (h->head.close)
		die(h, -EREMOTEIO, "closed its connection");
	else if (h->out.len)
		die(h, -EPROTO, "answered before it had the whole request");
	else
		h->state = IDLE;
}

static void read_in(struct http *h)
{
	char chunk[8192];
	/* a limit, so that a peer that never stops does not starve the loop's other sources */
	for (int i = 0; h->state != DEAD && i < 64; i++) {
		ssize_t n = recv(h->fd, chunk, sizeof(chunk), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n == 0 || (n < 0 && errno == ECONNRESET)) {
			die(h, -EREMOTEIO,
			    h->in.len ? "closed its connection within an answer"
				      : "closed its connection");
			return;
		}
		if (n < 0) {
			die_of_errno(h, -errno);
			return;
		}
		if (h->state != CALLING) {
			die(h, -EPROTO, "sent an answer without a request");
			return;
		}
		strbuf_add(&h->in, chunk, (size_t)n);
		if (h->in.failed)
			die(h, -ENOMEM, "sent more than there is memory for");
		else
			take_answer(h);
	}
}

static void on_socket(void *arg, uint32_t events)
{
	struct http *h = arg;
	if (events & ~(uint32_t)EPOLLOUT)
		read_in(h);
	if (h->state != DEAD && (events & EPOLLOUT))
		flush_out(h);
}

int http_new(struct loop *loop, int fd, const char *peer, struct http **ret)
{
	AUTO(http) h = calloc(1, sizeof(*h));
	if (!h)
		return -ENOMEM;
	h->fd = -1;
	h->loop = loop;
	h->peer = peer;
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	int r = loop_add_fd(loop, fd, EPOLLIN, on_socket, h, &h->source);
	if (r < 0)
		return r;
	h->fd = fd;
	*ret = TAKE_PTR(h);
	return 0;
}

void http_free(struct http *h)
{
	if (!h)
		return;
	loop_source_free(h->source);
	strbuf_done(&h->in);
	strbuf_done(&h->out);
	http_reply_done(&h->reply);
	if (h->fd >= 0)
		close(h->fd);
	free(h);
}

bool http_is_dead(const struct http *h)
{
	return h->state == DEAD;
}

static int report_death(const struct http *h, struct mvm_error *err)
{
	return mvm_error_set(err, h->death.code, "%s", h->death.text);
}

static int queue_request(struct http *h, const char *method, const char *path, const char *body,
			 struct mvm_error *err)
{
	strbuf_addf(&h->out, "%s %s HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n",
		    method, path);
	if (body)
		strbuf_addf(&h->out, "Content-Type: application/json\r\nContent-Length: %zu\r\n",
			    strlen(body));
	strbuf_adds(&h->out, "\r\n");
	if (body)
		strbuf_adds(&h->out, body);
	if (!h->out.failed)
		return 0;
	strbuf_done(&h->out);
	return mvm_error_oom(err);
}

void http_send_last(struct http *h, const char *method, const char *path, const char *body)
{
	if (h->state != DEAD || h->death.code != -ETIMEDOUT || h->out.len > 0 ||
	    queue_request(h, method, path, body, NULL) < 0)
		return;
	/* the socket is non-blocking; a part would be no request */
	(void)!send(h->fd, h->out.data, h->out.len, MSG_NOSIGNAL);
}

static void turn(struct http *h, int64_t deadline_ns)
{
	int r = loop_run_once(h->loop, deadline_ns);
	if (h->answered || h->state == DEAD)
		return;
	if (r == -ETIMEDOUT) /* a late answer would be taken for the next call's */
		die(h, r, "did not answer in time");
	else if (r < 0)
		die_of_errno(h, r);
}

int http_call(struct http *h, const char *method, const char *path, const char *body,
	      int64_t deadline_ns, struct http_reply *ret, struct mvm_error *err)
{
	if (h->state == DEAD)
		return report_death(h, err);
	if (h->state == CALLING)
		return mvm_error_set(err, -EBUSY, "%s is still busy with a call", h->peer);
	int r = queue_request(h, method, path, body, err);
	if (r < 0)
		return r;
	h->answered = false;
	h->state = CALLING;
	flush_out(h);
	while (!h->answered && h->state != DEAD)
		turn(h, deadline_ns);
	if (!h->answered || !h->reply.body)
		return report_death(h, err);
	*ret = h->reply;
	h->reply = (struct http_reply){ 0 };
	return 0;
}
