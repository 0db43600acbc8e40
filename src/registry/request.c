/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/request.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "registry/reply.h"

#define TRIES_MAX  5u
#define ASKED_MAX  2u
#define TIMEOUT_MS 120000L
#define STALLED_S  30  /* no byte goes: a lost connection */
#define SILENT_S   300 /* after the last byte: a registry may hash a blob for minutes */

static const char *const accept_lists =
	"Accept: application/vnd.oci.image.index.v1+json, application/json";

void request_done(struct request *q)
{
	strbuf_done(&q->body.text);
}

static size_t on_header(char *data, size_t one, size_t len, void *arg)
{
	struct request *q = arg;
	const char *value;
	size_t n;

	(void)one;
	if (len >= 5 && memcmp(data, "HTTP/", 5) == 0) /* the next answer, after a redirect */
		q->header[0] = '\0';
	if (reply_header(data, len, "www-authenticate", &value, &n))
		challenge_add(&q->challenge, value, n);
	else if (q->wanted && reply_header(data, len, q->wanted, &value, &n) &&
		 n < sizeof(q->header))
		snprintf(q->header, sizeof(q->header), "%.*s", (int)n, value);
	return len;
}

static size_t on_body(char *data, size_t one, size_t len, void *arg)
{
	struct request *q = arg;
	long status = 0;

	curl_easy_getinfo(q->easy, CURLINFO_RESPONSE_CODE, &status);
	if (q->uploads || status != 200)
		return client_on_text(data, one, len, &q->body);
	if (q->to_fd < 0)
		return len;
	if (len > q->max - q->have)
		q->problem = -EFBIG;
	else
		q->problem = file_write_all(q->to_fd, data, len);
	q->have += len;
	return q->problem ? 0 : len;
}

static size_t on_read(char *to, size_t one, size_t len, void *arg)
{
	struct request *q = arg;
	uint64_t left = q->size - q->sent;

	len *= one;
	ssize_t n = pread(q->from_fd, to, left < len ? (size_t)left : len, (off_t)q->sent);
	if (n < 0)
		return CURL_READFUNC_ABORT;
	q->sent += (uint64_t)n;
	if (q->c->on_bytes && !q->type)
		q->c->on_bytes(q->c->arg, q->c->bytes + q->sent);
	return (size_t)n;
}

static int on_seek(void *arg, curl_off_t offset, int from)
{
	struct request *q = arg;

	if (from != SEEK_SET || offset < 0 || (uint64_t)offset > q->size)
		return CURL_SEEKFUNC_CANTSEEK;
	q->sent = (uint64_t)offset;
	return CURL_SEEKFUNC_OK;
}

int64_t request_patience_s(const struct request *q)
{
	return q->from_fd >= 0 && !q->type && q->sent == q->size ? SILENT_S : STALLED_S;
}

/* CURLOPT_XFERINFOFUNCTION, about once a second: end an upload of which nothing moves. */
static int on_progress(void *arg, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
		       curl_off_t up)
{
	struct request *q = arg;
	int64_t now_ns = clock_now_ns();

	(void)down_total;
	(void)up_total;
	if ((uint64_t)(down + up) != q->moved) {
		q->moved = (uint64_t)(down + up);
		q->moved_ns = now_ns;
	}
	if (now_ns - q->moved_ns < request_patience_s(q) * NS_PER_S)
		return 0;
	q->was_silent = request_patience_s(q) == SILENT_S;
	return 1;
}

/* Is the request's URL on the registry itself? */
static bool is_ours(const struct request *q)
{
	const char *base = q->c->target.base;
	return str_starts(q->url, base) && q->url[strlen(base)] == '/';
}

static bool add(struct curl_slist **list, const char *line)
{
	struct curl_slist *more = line ? curl_slist_append(*list, line) : NULL;
	if (more)
		*list = more;
	return more != NULL;
}

static bool add_headers(const struct request *q, struct curl_slist **list)
{
	AUTO_FREE char *type = str_printf("Content-Type: %s",
					  q->type ? q->type : "application/octet-stream");
	bool ok = add(list, q->uploads ? "Expect:" : accept_lists);

	if (q->c->authorization && is_ours(q))
		ok = ok && add(list, q->c->authorization);
	if (q->from_fd >= 0)
		ok = ok && add(list, type);
	return ok;
}

static void set_method(struct request *q)
{
	CURL *easy = q->easy;

	if (str_eq(q->method, "HEAD") || str_eq(q->method, "GET")) {
		curl_easy_setopt(easy, CURLOPT_NOBODY, (long)str_eq(q->method, "HEAD"));
		curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
	} else if (q->from_fd >= 0) {
		curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)q->size);
		curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
		curl_easy_setopt(easy, CURLOPT_READDATA, q);
		curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek);
		curl_easy_setopt(easy, CURLOPT_SEEKDATA, q);
	} else if (str_eq(q->method, "POST")) {
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, "");
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, 0L);
	} else {
		curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, q->method);
	}
}

static void set_options(struct request *q, struct curl_slist *headers)
{
	client_prepare(q->c, q->easy, q->url);
	set_method(q);
	curl_easy_setopt(q->easy, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(q->easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(q->easy, CURLOPT_HEADERDATA, q);
	curl_easy_setopt(q->easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(q->easy, CURLOPT_WRITEDATA, q);
	if (q->uploads) {
		curl_easy_setopt(q->easy, CURLOPT_LOW_SPEED_TIME, (long)SILENT_S);
		curl_easy_setopt(q->easy, CURLOPT_NOPROGRESS, 0L);
		curl_easy_setopt(q->easy, CURLOPT_XFERINFOFUNCTION, on_progress);
		curl_easy_setopt(q->easy, CURLOPT_XFERINFODATA, q);
	}
	if (q->from_fd < 0 || q->type)
		curl_easy_setopt(q->easy, CURLOPT_TIMEOUT_MS, TIMEOUT_MS);
}

static void forget_answer(struct request *q)
{
	q->status = 0;
	q->asked_s = 0;
	q->sent = q->have = q->moved = 0;
	q->moved_ns = clock_now_ns();
	q->was_silent = false;
	q->problem = 0;
	q->challenge = (struct challenge){ 0 };
	q->header[0] = '\0';
	strbuf_done(&q->body.text);
	q->body.too_long = false;
}

static int perform(struct request *q)
{
	struct curl_slist *headers = NULL;
	int r = -ENOMEM;

	forget_answer(q);
	q->easy = client_easy(q->c);
	if (q->easy && add_headers(q, &headers)) {
		set_options(q, headers);
		q->code = curl_easy_perform(q->easy);
		curl_easy_getinfo(q->easy, CURLINFO_RESPONSE_CODE, &q->status);
		curl_easy_getinfo(q->easy, CURLINFO_RETRY_AFTER, &q->asked_s);
		q->c->answered |= q->status != 0;
		r = 0;
	}
	client_easy(q->c); /* so that it does not keep the headers */
	curl_slist_free_all(headers);
	return r;
}

int request_try(struct request *q, struct mvm_error *err)
{
	for (unsigned asked = 0;; asked++) {
		if (q->to_fd >= 0 &&
		    (ftruncate(q->to_fd, 0) < 0 || lseek(q->to_fd, 0, SEEK_SET) < 0))
			return request_fail(q, -errno, strerror(errno), err);
		if (perform(q) < 0)
			return mvm_error_oom(err);
		if (q->status != 401 || asked == ASKED_MAX || !is_ours(q))
			return 0;
		if (q->challenge.basic || q->challenge.bearer)
			q->c->challenge = q->challenge;
		if (!q->c->challenge.basic && !q->c->challenge.bearer)
			return 0;
		int r = client_authorize(q->c, err);
		if (r < 0)
			return r;
	}
}

/* ---- what an answer means ---- */

static bool is_for_a_moment(const struct request *q)
{
	if (q->was_silent) /* it would be again */
		return false;
	if (q->code == CURLE_ABORTED_BY_CALLBACK)
		return q->c->answered;
	if (q->code != CURLE_OK)
		return client_is_lost(q->c, q->code);
	return q->status == 429 || q->status == 408 ||
	       (q->status >= 500 && q->status < 600 && q->status != 501);
}

bool request_pause(const struct request *q, unsigned tries)
{
	int64_t until;

	if (q->problem || !is_for_a_moment(q) || tries >= TRIES_MAX ||
	    client_pause(tries, q->asked_s, &until) < 0)
		return false;
	client_note_pause(q->c, q->uploads ? "a push failed" : "a request failed", until);
	client_sleep(until);
	return true;
}

int request_send(struct request *q, struct mvm_error *err)
{
	for (unsigned tries = 1;; tries++) {
		int r = request_try(q, err);
		if (r < 0 || !request_pause(q, tries))
			return r;
	}
}

bool request_got(const struct request *q, long status)
{
	return q->code == CURLE_OK && q->status == status;
}

int request_fail(const struct request *q, int code, const char *why, struct mvm_error *err)
{
	return mvm_error_set(err, code, "cannot %s: %s", q->purpose, why);
}

static int refused(const struct request *q, const char *said, struct mvm_error *err)
{
	const struct target *to = &q->c->target;
	AUTO_FREE char *why = str_printf(
		"it refuses %s%s%s", to->user || to->from ? "these credentials" : "an unknown user",
		said[0] ? ": " : "", said);
	int r = request_fail(q, -EACCES, why ? why : "refused", err);
	return mvm_error_reason(err, r, "registry-login", to->host);
}

static int code_of(const struct request *q)
{
	if (q->status == 429)
		return -EBUSY;
	if (q->status == 413 && q->uploads)
		return -EFBIG;
	return q->status == 404 && !q->uploads ? -ENOENT : -EREMOTEIO;
}

int request_judge(const struct request *q, struct mvm_error *err)
{
	char said[REPLY_SAID_SIZE], why[96];

	if (q->problem == -EFBIG)
		return request_fail(q, -EFBIG, "the answer is too long", err);
	if (q->problem)
		return request_fail(q, q->problem, strerror(-q->problem), err);
	if (q->body.too_long && q->uploads)
		return request_fail(q, -EPROTO, "the registry answers with far too many words",
				    err);
	if (q->code == CURLE_TOO_MANY_REDIRECTS)
		return request_fail(q, -EREMOTEIO, "it redirects in a circle", err);
	if (q->code == CURLE_ABORTED_BY_CALLBACK)
		return request_fail(q, q->c->answered ? -EREMOTEIO : -EHOSTUNREACH,
				    q->was_silent ? "the registry has all bytes and does not answer"
						  : "the registry takes no more bytes",
				    err);
	if (q->code != CURLE_OK && !q->body.too_long) {
		int r = request_fail(q, q->c->answered ? -EREMOTEIO : -EHOSTUNREACH,
				     curl_easy_strerror(q->code), err);
		return q->c->answered ? r : client_hint(&q->c->target, q->code, r, err);
	}
	reply_said(q->body.text.data, q->body.text.len, said);
	if (q->status == 401 || q->status == 403)
		return refused(q, said, err);
	snprintf(why, sizeof(why), "HTTP status %ld%s%s", q->status, q->uploads ? " to " : "",
		 q->uploads ? q->method : "");
	int r = request_fail(q, code_of(q), why, err);
	return said[0] ? mvm_error_more(err, r, ": %s", said) : r;
}
