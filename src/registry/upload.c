/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/upload.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "registry/reply.h"

#define TRIES_MAX    5u
#define ASKED_MAX    2u
#define LOCATION_MAX 8192u
#define DOCUMENT_MS  120000L
#define SLOW_S	     300L /* a registry may be silent while it hashes a blob */

/* One request, and its answer. */
struct request {
	struct client *c;
	const char *method, *url, *type; /* type: of the body; NULL: none */
	int fd;				 /* of the body; -1: none */
	uint64_t size, sent;
	/* the answer */
	long status;
	CURLcode code;
	curl_off_t asked_s;
	struct challenge challenge;
	char location[LOCATION_MAX];
	struct answer_text body;
};

static size_t on_header(char *data, size_t one, size_t len, void *arg)
{
	struct request *q = arg;
	const char *value;
	size_t n;

	(void)one;
	if (len >= 5 && memcmp(data, "HTTP/", 5) == 0)
		q->location[0] = '\0';
	if (reply_header(data, len, "location", &value, &n) && n < sizeof(q->location))
		snprintf(q->location, sizeof(q->location), "%.*s", (int)n, value);
	else if (reply_header(data, len, "www-authenticate", &value, &n))
		challenge_add(&q->challenge, value, n);
	return len;
}

static size_t on_read(char *to, size_t one, size_t len, void *arg)
{
	struct request *q = arg;
	uint64_t left = q->size - q->sent;

	len *= one;
	ssize_t n = pread(q->fd, to, left < len ? (size_t)left : len, (off_t)q->sent);
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

/* Is this URL on the registry itself? */
static bool is_ours(const struct client *c, const char *url)
{
	const size_t n = strlen(c->target.base);
	return strncmp(url, c->target.base, n) == 0 && url[n] == '/';
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
	bool ok = add(list, "Expect:");

	if (q->c->authorization && is_ours(q->c, q->url))
		ok = ok && add(list, q->c->authorization);
	if (q->fd >= 0)
		ok = ok && add(list, type);
	return ok;
}

static void set_options(struct request *q, CURL *easy, struct curl_slist *headers)
{
	client_prepare(q->c, easy, q->url);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, q);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, client_on_text);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, &q->body);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, SLOW_S);
	if (str_eq(q->method, "HEAD")) {
		curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
		curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
	} else if (q->fd >= 0) {
		curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)q->size);
		curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
		curl_easy_setopt(easy, CURLOPT_READDATA, q);
		curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek);
		curl_easy_setopt(easy, CURLOPT_SEEKDATA, q);
	} else {
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, "");
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, 0L);
	}
	if (q->fd < 0 || q->type)
		curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, DOCUMENT_MS);
}

static int perform(struct request *q)
{
	struct curl_slist *headers = NULL;
	CURL *easy = client_easy(q->c);
	int r = -ENOMEM;

	q->status = 0;
	q->sent = 0;
	q->asked_s = 0;
	q->challenge = (struct challenge){ 0 };
	q->location[0] = '\0';
	strbuf_done(&q->body.text);
	q->body.too_long = false;
	if (easy && add_headers(q, &headers)) {
		set_options(q, easy, headers);
		q->code = curl_easy_perform(easy);
		curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &q->status);
		curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &q->asked_s);
		q->c->answered |= q->status != 0;
		r = 0;
	}
	client_easy(q->c); /* so that it does not keep the headers */
	curl_slist_free_all(headers);
	return r;
}

/* ---- what an answer means ---- */

static int fail(const struct request *q, int code, const char *why, struct mvm_error *err)
{
	const struct target *to = &q->c->target;
	return mvm_error_set(err, code, "cannot push to %s/%s: %s", to->host, to->path, why);
}

static int refused(const struct request *q, const char *said, struct mvm_error *err)
{
	const char *host = q->c->target.host;
	AUTO_FREE char *why = str_printf(
		"it refuses %s%s%s", q->c->target.from ? "these credentials" : "an unknown user",
		said[0] ? ": " : "", said);
	int r = fail(q, -EACCES, why ? why : "refused", err);
	return mvm_error_reason(err, r, "registry-login", host);
}

static bool is_for_a_moment(const struct request *q)
{
	if (q->code != CURLE_OK)
		return client_is_lost(q->c, q->code);
	return q->status == 429 || q->status == 408 ||
	       (q->status >= 500 && q->status < 600 && q->status != 501);
}

static int judge(const struct request *q, struct mvm_error *err)
{
	char said[REPLY_SAID_SIZE], why[96];

	if (q->body.too_long)
		return fail(q, -EPROTO, "the registry answers with far too many words", err);
	if (q->code == CURLE_TOO_MANY_REDIRECTS)
		return fail(q, -EREMOTEIO, "it redirects in a circle", err);
	if (q->code != CURLE_OK)
		return fail(q, q->c->answered ? -EREMOTEIO : -EHOSTUNREACH,
			    curl_easy_strerror(q->code), err);
	reply_said(q->body.text.data, q->body.text.len, said);
	if (q->status == 401 || q->status == 403)
		return refused(q, said, err);
	snprintf(why, sizeof(why), "HTTP status %ld to %s", q->status, q->method);
	int r = -EREMOTEIO;
	if (q->status == 413)
		r = -EFBIG;
	else if (q->status == 429)
		r = -EBUSY;
	fail(q, r, why, err);
	return said[0] ? mvm_error_more(err, r, ": %s", said) : r;
}

/* Send a request, and answer challenges.  0 with any other answer. */
static int send_request(struct request *q, struct mvm_error *err)
{
	for (unsigned asked = 0;; asked++) {
		if (perform(q) < 0)
			return mvm_error_oom(err);
		if (q->status != 401 || asked == ASKED_MAX || !is_ours(q->c, q->url))
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

/* After a pause, if another try may help? */
static bool wait_to_retry(const struct request *q, unsigned tries)
{
	int64_t until;

	if (!is_for_a_moment(q) || tries >= TRIES_MAX ||
	    client_pause(tries, q->asked_s, &until) < 0)
		return false;
	client_note_pause(q->c, "a push failed", until);
	client_sleep(until);
	return true;
}

static char *url_of(const struct client *c, const char *kind, const char *name)
{
	return str_printf("%s/v2/%s/%s/%s", c->target.base, c->target.path, kind, name);
}

int upload_has(struct client *c, const char *digest, struct mvm_error *err)
{
	AUTO_FREE char *url = url_of(c, "blobs", digest);
	struct request q = { .c = c, .method = "HEAD", .url = url, .fd = -1 };
	int r = url ? 0 : mvm_error_oom(err);

	for (unsigned tries = 1; r == 0; tries++) {
		r = send_request(&q, err);
		if (r < 0 || !wait_to_retry(&q, tries))
			break;
	}
	bool is_here = q.code == CURLE_OK && q.status == 200;
	bool is_missing = q.code == CURLE_OK && q.status == 404;
	if (r == 0 && !is_missing)
		r = is_here ? 1 : judge(&q, err);
	strbuf_done(&q.body.text);
	return r;
}

/* Where the blob goes: the answer to the POST, relative or not, and the digest. */
static char *upload_url(const char *base, const char *location, const char *digest)
{
	AUTO_FREE char *query = str_printf("digest=%s", digest);
	CURLU *u = curl_url();
	char *url = NULL, *copy = NULL;

	if (u && query && curl_url_set(u, CURLUPART_URL, base, 0) == CURLUE_OK &&
	    curl_url_set(u, CURLUPART_URL, location, 0) == CURLUE_OK &&
	    curl_url_set(u, CURLUPART_QUERY, query, CURLU_APPENDQUERY) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_URL, &url, 0) == CURLUE_OK)
		copy = strdup(url);
	curl_free(url);
	curl_url_cleanup(u);
	return copy;
}

/* One try.  1: done; 0: the registry's answer is in q; -errno: no use. */
static int try_blob(struct request *q, const char *start, const char *digest, int fd, uint64_t size,
		    struct mvm_error *err)
{
	*q = (struct request){
		.c = q->c, .method = "POST", .url = start, .fd = -1, .body = q->body
	};
	int r = send_request(q, err);
	if (r < 0 || q->code != CURLE_OK || q->status != 202)
		return r;
	AUTO_FREE char *url = upload_url(start, q->location, digest);
	if (!url)
		return fail(q, -EPROTO, "it does not say where to upload to", err);
	q->method = "PUT";
	q->url = url;
	q->fd = fd;
	q->size = size;
	r = send_request(q, err);
	q->url = start;
	return r < 0 ? r : q->code == CURLE_OK && (q->status == 201 || q->status == 204);
}

int upload_blob(struct client *c, const char *digest, int fd, uint64_t size, struct mvm_error *err)
{
	AUTO_FREE char *start = url_of(c, "blobs/uploads", "");
	struct request q = { .c = c, .fd = -1 };
	int r = start ? 0 : mvm_error_oom(err);

	for (unsigned tries = 1; r == 0; tries++) {
		r = try_blob(&q, start, digest, fd, size, err);
		if (r == 0 && !wait_to_retry(&q, tries))
			r = judge(&q, err);
	}
	strbuf_done(&q.body.text);
	if (r > 0)
		c->bytes += size;
	return r < 0 ? r : 0;
}

int upload_manifest(struct client *c, const char *reference, const char *type, int fd,
		    uint64_t size, struct mvm_error *err)
{
	AUTO_FREE char *url = url_of(c, "manifests", reference);
	struct request q = {
		.c = c, .method = "PUT", .url = url, .type = type, .fd = fd, .size = size
	};
	int r = url ? 0 : mvm_error_oom(err);

	for (unsigned tries = 1; r == 0; tries++) {
		r = send_request(&q, err);
		if (r == 0 && q.code == CURLE_OK && (q.status == 201 || q.status == 200))
			r = 1;
		else if (r == 0 && !wait_to_retry(&q, tries))
			r = judge(&q, err);
	}
	strbuf_done(&q.body.text);
	return r < 0 ? r : 0;
}
