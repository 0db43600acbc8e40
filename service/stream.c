/* SPDX-License-Identifier: Apache-2.0 */
#include "stream.h"

#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/queue.h"
#include "request.h"

#define READER_S 3600u /* that a client may take for its next read */

struct stream {
	struct request *rq;
	const struct stream_ops *ops;
	void *arg;
	struct queue bytes;
	bool ended, aborted;
	bool was_full; /* the source waits for room */
};

static ssize_t on_read(void *arg, uint64_t position, char *buffer, size_t max)
{
	struct stream *s = arg;
	size_t n = queue_len(&s->bytes);

	(void)position;
	if (s->aborted || request_gone(s->rq))
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (n == 0 && s->ended)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (n == 0) {
		request_suspend(s->rq);
		return 0;
	}
	if (n > max)
		n = max;
	memcpy(buffer, queue_front(&s->bytes), n);
	queue_take(&s->bytes, n);
	if (s->was_full && !s->ended && queue_len(&s->bytes) <= STREAM_BYTES / 2) {
		s->was_full = false;
		if (s->ops->room)
			s->ops->room(s->arg);
	}
	return (ssize_t)n;
}

static void on_free(void *arg)
{
	struct stream *s = arg;
	s->ops->closed(s->arg);
	queue_done(&s->bytes);
	request_unref(s->rq);
	free(s);
}

int stream_open(struct request *rq, unsigned status, const char *type, const struct stream_ops *ops,
		void *arg, struct stream **ret, struct mvm_error *err)
{
	return stream_open_sized(rq, status, type, MHD_SIZE_UNKNOWN, ops, arg, ret, err);
}

int stream_open_sized(struct request *rq, unsigned status, const char *type, uint64_t size,
		      const struct stream_ops *ops, void *arg, struct stream **ret,
		      struct mvm_error *err)
{
	struct stream *s = calloc(1, sizeof(*s));
	if (!s)
		return mvm_error_oom(err);
	struct MHD_Response *response = MHD_create_response_from_callback(size, 32ul * 1024,
									  on_read, s, on_free);
	if (!response) {
		free(s);
		return mvm_error_oom(err);
	}
	s->rq = request_ref(rq);
	/* a reader may be slow; without this it would have as long as a silent client */
	MHD_set_connection_option(rq->connection, MHD_CONNECTION_OPTION_TIMEOUT, READER_S);
	s->ops = ops;
	s->arg = arg;
	*ret = s;
	if (type) {
		request_add_header(rq, "Content-Type", type);
		request_add_header(rq, "X-Accel-Buffering",
				   "no"); /* a proxy shall pass each piece on */
	}
	request_reply_response(rq, status, response);
	return 0;
}

size_t stream_room(const struct stream *s)
{
	size_t n = queue_len(&s->bytes);
	return n < STREAM_BYTES && !s->ended && !s->aborted ? STREAM_BYTES - n : 0;
}

int stream_write(struct stream *s, const void *data, size_t len)
{
	queue_add(&s->bytes, data, len);
	s->was_full = queue_len(&s->bytes) >= STREAM_BYTES;
	if (s->bytes.buf.failed)
		stream_abort(s);
	request_resume(s->rq);
	return s->bytes.buf.failed ? -ENOMEM : 0;
}

int stream_write_json(struct stream *s, json_t *value)
{
	char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;
	int r = -ENOMEM;

	json_decref(value);
	if (text) {
		queue_add(&s->bytes, text, strlen(text));
		r = stream_write(s, "\n", 1);
	} else {
		stream_abort(s);
	}
	free(text);
	return r;
}

void stream_end(struct stream *s)
{
	s->ended = true;
	request_resume(s->rq);
}

void stream_abort(struct stream *s)
{
	s->aborted = true;
	request_resume(s->rq);
}
