/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/api.h"

#include <errno.h>
#include <string.h>

#include "base/file.h"
#include "registry/reply.h"

#define TRIES_MAX  5u
#define ASKED_MAX  2u
#define LINK_MAX   8192u
#define TIMEOUT_MS 120000L

static const char *const accept_lists =
	"Accept: application/vnd.oci.image.index.v1+json, application/json";

/* One request, and its answer. */
struct request {
	struct client *c;
	const char *method, *url;
	const char *purpose; /* "list 'team/web'", for messages */
	int fd;		     /* where the body of a good answer goes; -1: nowhere */
	uint64_t max, have;
	/* the answer */
	CURL *easy;
	CURLcode code;
	long status;
	curl_off_t asked_s;
	struct challenge challenge;
	char link[LINK_MAX];
	struct answer_text body; /* of any other answer */
	int problem;
};

static void request_done(struct request *q)
{
	strbuf_done(&q->body.text);
}
DEFINE_AUTO_DONE(request, request_done)

static size_t on_header(char *data, size_t one, size_t len, void *arg)
{
	struct request *q = arg;
	const char *value;
	size_t n;

	(void)one;
	if (len >= 5 && memcmp(data, "HTTP/", 5) == 0) /* the next answer, after a redirect */
		q->link[0] = '\0';
	if (reply_header(data, len, "www-authenticate", &value, &n))
		challenge_add(&q->challenge, value, n);
	else if (reply_header(data, len, "link", &value, &n) && n < sizeof(q->link))
		snprintf(q->link, sizeof(q->link), "%.*s", (int)n, value);
	return len;
}

static size_t on_body(char *data, size_t one, size_t len, void *arg)
{
	struct request *q = arg;
	long status = 0;

	curl_easy_getinfo(q->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status != 200)
		return client_on_text(data, one, len, &q->body);
	if (q->fd < 0)
		return len;
	if (len > q->max - q->have)
		q->problem = -EFBIG;
	else
		q->problem = file_write_all(q->fd, data, len);
	q->have += len;
	return q->problem ? 0 : len;
}

static void set_options(struct request *q, struct curl_slist *headers)
{
	client_prepare(q->c, q->easy, q->url);
	curl_easy_setopt(q->easy, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(q->easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(q->easy, CURLOPT_HEADERDATA, q);
	curl_easy_setopt(q->easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(q->easy, CURLOPT_WRITEDATA, q);
	curl_easy_setopt(q->easy, CURLOPT_TIMEOUT_MS, TIMEOUT_MS);
	if (str_eq(q->method, "GET"))
		curl_easy_setopt(q->easy, CURLOPT_FOLLOWLOCATION, 1L);
	else
		curl_easy_setopt(q->easy, CURLOPT_CUSTOMREQUEST, q->method);
}

static void forget_answer(struct request *q)
{
	q->status = 0;
	q->asked_s = 0;
	q->have = 0;
	q->problem = 0;
	q->challenge = (struct challenge){ 0 };
	q->link[0] = '\0';
	strbuf_done(&q->body.text);
	q->body.too_long = false;
}

static int perform(struct request *q)
{
	struct curl_slist *headers = curl_slist_append(NULL, accept_lists);
	int r = -ENOMEM;

	forget_answer(q);
	q->easy = curl_easy_init();
	struct curl_slist *more = headers && q->c->authorization
					  ? curl_slist_append(headers, q->c->authorization)
					  : headers;
	if (q->easy && more) {
		set_options(q, headers);
		q->code = curl_easy_perform(q->easy);
		curl_easy_getinfo(q->easy, CURLINFO_RESPONSE_CODE, &q->status);
		curl_easy_getinfo(q->easy, CURLINFO_RETRY_AFTER, &q->asked_s);
		q->c->answered |= q->status != 0;
		r = 0;
	}
	curl_slist_free_all(headers);
	curl_easy_cleanup(q->easy);
	q->easy = NULL;
	return r;
}

/* ---- what an answer means ---- */

static int fail(const struct request *q, int code, const char *why, struct mvm_error *err)
{
	return mvm_error_set(err, code, "cannot %s at %s: %s", q->purpose, q->c->target.host, why);
}

static int refused(const struct request *q, const char *said, struct mvm_error *err)
{
	const char *host = q->c->target.host;
	AUTO_FREE char *why = str_printf(
		"it refuses %s%s%s",
		q->c->target.user || q->c->target.from ? "these credentials" : "an unknown user",
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
	int r = -EREMOTEIO;

	if (q->problem == -EFBIG)
		return fail(q, -EFBIG, "the answer is too long", err);
	if (q->problem)
		return fail(q, q->problem, strerror(-q->problem), err);
	if (q->code == CURLE_TOO_MANY_REDIRECTS)
		return fail(q, -EREMOTEIO, "it redirects in a circle", err);
	if (q->code != CURLE_OK && !q->body.too_long)
		return fail(q, q->c->answered ? -EREMOTEIO : -EHOSTUNREACH,
			    curl_easy_strerror(q->code), err);
	reply_said(q->body.text.data, q->body.text.len, said);
	if (q->status == 401 || q->status == 403)
		return refused(q, said, err);
	snprintf(why, sizeof(why), "HTTP status %ld", q->status);
	if (q->status == 429)
		r = -EBUSY;
	else if (q->status == 404)
		r = -ENOENT;
	fail(q, r, why, err);
	return said[0] ? mvm_error_more(err, r, ": %s", said) : r;
}

/* Send a request, and answer challenges.  0 with any other answer. */
static int answer_challenges(struct request *q, struct mvm_error *err)
{
	for (unsigned asked = 0;; asked++) {
		if (perform(q) < 0)
			return mvm_error_oom(err);
		if (q->status != 401 || asked == ASKED_MAX)
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

/* Send a request until its answer is more than a failure for a moment. */
static int send_request(struct request *q, struct mvm_error *err)
{
	for (unsigned tries = 1;; tries++) {
		int64_t until;
		if (q->fd >= 0 && (ftruncate(q->fd, 0) < 0 || lseek(q->fd, 0, SEEK_SET) < 0))
			return fail(q, -errno, strerror(errno), err);
		int r = answer_challenges(q, err);
		if (r < 0 || q->problem || !is_for_a_moment(q) || tries >= TRIES_MAX ||
		    client_pause(tries, q->asked_s, &until) < 0)
			return r;
		client_note_pause(q->c, "a request failed", until);
		client_sleep(until);
	}
}

/* ---- the requests ---- */

int api_login(struct client *c, struct mvm_error *err)
{
	AUTO_FREE char *url = str_printf("%s/v2/", c->target.base);
	AUTO_DONE(request) q = {
		.c = c, .method = "GET", .url = url, .purpose = "log in", .fd = -1
	};

	int r = url ? send_request(&q, err) : mvm_error_oom(err);
	if (r == 0 && q.code == CURLE_OK && q.status == 200)
		return c->tokens > 0;
	if (r == 0)
		r = judge(&q, err);
	if (r == -EACCES) /* the user is here, and needs no hint to log in */
		mvm_error_set(err, r, "%s refuses this user name or password", c->target.host);
	return r;
}

/* The target of rel="next" in a Link header, as a path at the registry; NULL: none. */
static char *next_page(const struct request *q)
{
	const char *from = strchr(q->link, '<'), *to = from ? strchr(from, '>') : NULL;
	char *path = NULL, *query = NULL, *next = NULL;
	CURLU *u = curl_url();

	if (!to || !u || (!strstr(to, "rel=\"next\"") && !strstr(to, "rel=next"))) {
		curl_url_cleanup(u);
		return NULL;
	}
	AUTO_FREE char *target = strndup(from + 1, (size_t)(to - from - 1));
	if (target && curl_url_set(u, CURLUPART_URL, q->url, 0) == CURLUE_OK &&
	    curl_url_set(u, CURLUPART_URL, target, 0) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_PATH, &path, 0) == CURLUE_OK) {
		curl_url_get(u, CURLUPART_QUERY, &query, 0); /* may be missing */
		next = str_printf("%s%s%s", path, query ? "?" : "", query ? query : "");
	}
	curl_free(path);
	curl_free(query);
	curl_url_cleanup(u);
	return next;
}

int api_list(struct client *c, const char *what, int fd, uint64_t max, char **ret_next,
	     struct mvm_error *err)
{
	const struct target *to = &c->target;
	AUTO_FREE char *url = what[0] == '/' ? str_printf("%s%s", to->base, what)
					     : str_printf("%s/v2/%s/%s", to->base, to->path, what);
	AUTO_FREE char *purpose = str_printf("list '%s'", to->path);
	AUTO_DONE(request) q = {
		.c = c, .method = "GET", .url = url, .purpose = purpose, .fd = fd, .max = max
	};

	int r = url && purpose ? send_request(&q, err) : mvm_error_oom(err);
	if (r < 0)
		return r;
	if (q.code != CURLE_OK || q.status != 200)
		return q.code == CURLE_OK && q.status == 404 ? 0 : judge(&q, err);
	*ret_next = next_page(&q);
	return 1;
}

int api_delete(struct client *c, const char *digest, struct mvm_error *err)
{
	const struct target *to = &c->target;
	AUTO_FREE char *url = str_printf("%s/v2/%s/manifests/%s", to->base, to->path, digest);
	AUTO_FREE char *purpose = str_printf("delete '%s@%.19s'", to->path, digest);
	AUTO_DONE(request) q = {
		.c = c, .method = "DELETE", .url = url, .purpose = purpose, .fd = -1
	};

	int r = url && purpose ? send_request(&q, err) : mvm_error_oom(err);
	if (r < 0 || (q.code == CURLE_OK && (q.status == 202 || q.status == 200)))
		return r;
	if (q.code != CURLE_OK || q.status != 405)
		return judge(&q, err);
	r = fail(&q, -EOPNOTSUPP, "it deletes nothing (HTTP status 405)", err);
	return mvm_error_hint(err, r, "its operator must allow deletions");
}
