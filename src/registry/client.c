/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/client.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "model/image_ref.h"
#include "registry/reply.h"

#define BESIDE_MAX    4u      /* blobs at the same time */
#define HEADERS_MAX   262144u /* bytes of headers in one answer, redirects included */
#define CONNECT_MS    30000L
#define SLOW_BYTES    512L /* a second; slower than this for SLOW_S seconds is a lost connection */
#define SLOW_S	      30L
#define REDIRECTS_MAX 5L
#define DOCUMENT_MS   120000L
#define POLL_MS	      1000
#define READ_BLOCK    65536u

static const char *const accept_manifests =
	"Accept: application/vnd.oci.image.index.v1+json, "
	"application/vnd.docker.distribution.manifest.list.v2+json, "
	"application/vnd.oci.image.manifest.v1+json, "
	"application/vnd.docker.distribution.manifest.v2+json";

static void wipe(char *s)
{
	if (s)
		explicit_bzero(s, strlen(s));
	free(s);
}

void client_done(struct client *c)
{
	struct target *t = &c->target;

	curl_easy_cleanup(c->easy);
	if (c->multi)
		curl_multi_cleanup(c->multi);
	wipe(c->authorization);
	wipe(t->password);
	wipe(t->identity);
	wipe(t->bearer);
	free(t->base);
	free(t->host);
	free(t->path);
	free(t->user);
	free(t->from);
	free(t->ca);
	*c = (struct client){ 0 };
}

int client_init(struct client *c, struct mvm_error *err)
{
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return mvm_error_set(err, -ENOMEM, "cannot set up libcurl");
	c->multi = curl_multi_init();
	return c->multi ? 0 : mvm_error_oom(err);
}

CURL *client_easy(struct client *c)
{
	if (!c->easy)
		c->easy = curl_easy_init();
	if (c->easy)
		curl_easy_reset(c->easy);
	return c->easy;
}

static void end_try(struct transfer *t)
{
	if (t->easy)
		curl_multi_remove_handle(t->client->multi, t->easy);
	curl_easy_cleanup(t->easy);
	curl_slist_free_all(t->headers);
	t->easy = NULL;
	t->headers = NULL;
}

void transfer_done(struct transfer *t)
{
	end_try(t);
	if (t->fd >= 0)
		close(t->fd);
	free(t->reference);
	free(t->url);
	strbuf_done(&t->text);
	*t = (struct transfer){ .fd = -1 };
}

int transfer_restart(struct transfer *t)
{
	t->client->bytes -= t->want == WANT_BLOB ? t->have : 0;
	t->have = 0;
	sha256_init(&t->hash);
	return t->fd >= 0 && !t->is_part && ftruncate(t->fd, 0) < 0 ? -errno : 0;
}

/* Take over the first bytes of a blob, which an earlier pull left. */
static int take_earlier(struct transfer *t)
{
	AUTO_FREE char *block = malloc(READ_BLOCK);
	ssize_t n = 0;

	sha256_init(&t->hash);
	if (!block)
		return -ENOMEM;
	while ((n = pread(t->fd, block, READ_BLOCK, (off_t)t->have)) > 0) {
		sha256_add(&t->hash, block, (size_t)n);
		t->have += (uint64_t)n;
		t->client->bytes += (uint64_t)n;
		if (t->have > t->size)
			return transfer_restart(t);
	}
	return n < 0 ? -errno : 0;
}

/* ---- one try ---- */

static size_t on_header(char *data, size_t one, size_t len, void *arg)
{
	struct transfer *t = arg;
	const char *value;
	size_t n;

	(void)one;
	t->header_bytes += len;
	if (t->header_bytes > HEADERS_MAX) {
		t->problem = -EFBIG;
		return 0;
	}
	if (len >= 5 && memcmp(data, "HTTP/", 5) == 0) { /* the next answer, after a redirect */
		t->challenge = (struct challenge){ 0 };
		t->has_told = t->has_first = false;
	}
	if (reply_header(data, len, "www-authenticate", &value, &n))
		challenge_add(&t->challenge, value, n);
	else if (reply_header(data, len, "docker-content-digest", &value, &n))
		t->has_told = reply_digest(value, n, &t->told) == 0;
	else if (reply_header(data, len, "content-range", &value, &n))
		t->has_first = reply_range(value, n, &t->first, &t->total) == 0;
	return len;
}

/* The first byte of a good answer: does it begin where ours end? */
static int check_start(struct transfer *t, long status)
{
	const uint64_t whole = t->is_part ? t->whole : t->size;

	if (status == 200 && t->size < whole)
		return -EOPNOTSUPP;
	if (status == 200) /* it knows no ranges, or we asked for none */
		return t->have ? transfer_restart(t) : 0;
	if (status == 206 && t->has_first && t->first == t->from + t->have &&
	    (t->total == UINT64_MAX || t->total == whole))
		return 0;
	return -ERANGE;
}

static int write_out(struct transfer *t, const char *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pwrite(t->fd, data + done, len - done, (off_t)(t->at + t->have + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	if (!t->is_part) /* nobody knows a part's digest */
		sha256_add(&t->hash, data, len);
	t->have += len;
	if (t->want == WANT_BLOB)
		t->client->bytes += len;
	return 0;
}

static size_t on_body(char *data, size_t one, size_t len, void *arg)
{
	struct transfer *t = arg;
	long status = 0;

	(void)one;
	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status != 200 && status != 206) {
		if (t->text.len + len > REPLY_TEXT_MAX)
			t->problem = -EMSGSIZE; /* nobody needs all of it */
		else
			strbuf_add(&t->text, data, len);
		return t->problem ? 0 : len;
	}
	if (!t->checked)
		t->problem = check_start(t, status);
	t->checked = true;
	if (t->problem == 0 && len > t->size - t->have)
		t->problem = -EFBIG;
	if (t->problem == 0)
		t->problem = write_out(t, data, len);
	return t->problem ? 0 : len;
}

size_t client_on_text(char *data, size_t one, size_t len, void *arg)
{
	struct answer_text *a = arg;

	(void)one;
	a->too_long |= a->text.len + len > REPLY_TEXT_MAX;
	if (a->too_long)
		return 0;
	strbuf_add(&a->text, data, len);
	return len;
}

void client_prepare(struct client *c, CURL *easy, const char *url)
{
	bool plain = str_starts(c->target.base, "http:");
	struct curl_blob ca = { .data = c->target.ca,
				.len = c->target.ca_len,
				.flags = CURL_BLOB_NOCOPY };

	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "mvm/" MVM_VERSION);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, plain ? "http,https" : "https");
	curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, plain ? "http,https" : "https");
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, SLOW_BYTES);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, SLOW_S);
	curl_easy_setopt(easy, CURLOPT_MAXREDIRS, REDIRECTS_MAX);
	curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	if (image_ref_is_loopback(c->target.host)) /* no proxy can reach this machine for us */
		curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	if (c->target.ca)
		curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &ca);
}

static int make_url(struct transfer *t)
{
	const struct target *to = &t->client->target;

	if (!t->url)
		t->url = str_printf("%s/v2/%s/%s/%s", to->base, to->path,
				    t->want == WANT_BLOB ? "blobs" : "manifests", t->reference);
	return t->url ? 0 : -ENOMEM;
}

static int add_header(struct transfer *t, const char *line)
{
	struct curl_slist *more = curl_slist_append(t->headers, line);

	if (more)
		t->headers = more;
	return more ? 0 : -ENOMEM;
}

static int set_range(struct transfer *t)
{
	char range[64];

	if (t->want != WANT_BLOB || (t->have == 0 && !t->is_part))
		return 0;
	snprintf(range, sizeof(range), "%" PRIu64 "-%" PRIu64, t->from + t->have,
		 t->from + t->size - 1);
	return curl_easy_setopt(t->easy, CURLOPT_RANGE, range) == CURLE_OK ? 0 : -ENOMEM;
}

static void forget_answer(struct transfer *t)
{
	strbuf_done(&t->text);
	t->challenge = (struct challenge){ 0 };
	t->has_told = t->has_first = t->checked = false;
	t->header_bytes = 0;
	t->problem = 0;
	t->tried_from = t->have;
	t->tokens = t->client->tokens;
}

static int begin_try(struct client *c, struct transfer *t)
{
	forget_answer(t);
	t->tries++;
	t->easy = curl_easy_init();
	int r = t->easy ? make_url(t) : -ENOMEM;
	if (r == 0 && t->want != WANT_BLOB)
		r = add_header(t, accept_manifests);
	if (r == 0 && c->authorization)
		r = add_header(t, c->authorization);
	if (r == 0)
		r = set_range(t);
	if (r < 0)
		return r;
	client_prepare(c, t->easy, t->url);
	curl_easy_setopt(t->easy, CURLOPT_FOLLOWLOCATION, 1L);
	curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
	curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t);
	curl_easy_setopt(t->easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(t->easy, CURLOPT_HEADERDATA, t);
	curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
	if (t->want == WANT_HEAD)
		curl_easy_setopt(t->easy, CURLOPT_NOBODY, 1L);
	if (t->want != WANT_BLOB)
		curl_easy_setopt(t->easy, CURLOPT_TIMEOUT_MS, DOCUMENT_MS);
	return curl_multi_add_handle(c->multi, t->easy) == CURLM_OK ? 0 : -ENOMEM;
}

/* ---- all of them ---- */

static int begin_some(struct client *c, struct transfer *list, size_t n, int64_t *ret_next_ns)
{
	int64_t now = clock_now_ns();
	size_t under_way = 0;

	*ret_next_ns = DEADLINE_NONE;
	for (size_t i = 0; i < n; i++)
		under_way += list[i].easy != NULL;
	for (size_t i = 0; i < n && under_way < BESIDE_MAX; i++) {
		struct transfer *t = &list[i];
		if (t->is_done || t->easy)
			continue;
		if (t->not_before_ns > now) {
			if (*ret_next_ns == DEADLINE_NONE || t->not_before_ns < *ret_next_ns)
				*ret_next_ns = t->not_before_ns;
			continue;
		}
		int r = begin_try(c, t);
		if (r < 0)
			return r;
		under_way++;
	}
	return 0;
}

static int end_some(struct client *c, size_t *left, struct mvm_error *err)
{
	const CURLMsg *m;
	int more;

	while ((m = curl_multi_info_read(c->multi, &more))) {
		struct transfer *t = NULL;
		if (m->msg != CURLMSG_DONE)
			continue;
		CURLcode code = m->data.result;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t);
		int r = client_judge(c, t, code, err);
		end_try(t);
		if (r < 0)
			return r;
		t->is_done = r > 0;
		*left -= t->is_done;
	}
	return 0;
}

static int start(struct client *c, struct transfer *t, size_t *left)
{
	t->client = c;
	sha256_init(&t->hash);
	int r = t->want == WANT_BLOB && !t->is_part ? take_earlier(t) : 0;
	if (r < 0 || t->want != WANT_BLOB || t->have < t->size)
		return r;
	struct mvm_digest digest; /* all of it is here */
	sha256_end(&t->hash, &digest);
	if (!digest_equal(&digest, &t->digest) && t->size > 0)
		return transfer_restart(t);
	t->is_done = true; /* mvm itself checks an empty blob's digest */
	*left -= 1;
	return 0;
}

static int run(struct client *c, struct transfer *list, size_t n, struct mvm_error *err)
{
	size_t left = n;
	int64_t next;
	int r = 0, running;

	for (size_t i = 0; r == 0 && i < n; i++)
		r = start(c, &list[i], &left);
	while (r == 0 && left > 0) {
		r = begin_some(c, list, n, &next);
		if (r < 0)
			break;
		int64_t wait_ms = POLL_MS;
		if (next != DEADLINE_NONE && next - clock_now_ns() < POLL_MS * NS_PER_MS)
			wait_ms = (next - clock_now_ns()) / NS_PER_MS + 1;
		if (curl_multi_perform(c->multi, &running) != CURLM_OK)
			return mvm_error_oom(err);
		struct mvm_error why = { 0 };
		r = end_some(c, &left, &why);
		if (r < 0)
			return mvm_error_hand_on(err, &why);
		if (c->on_bytes)
			c->on_bytes(c->arg, c->bytes);
		if (left > 0)
			curl_multi_poll(c->multi, NULL, 0, wait_ms > 0 ? (int)wait_ms : 0, NULL);
	}
	return r < 0 ? mvm_error_set(err, r, "cannot fetch from %s: %s", c->target.host,
				     strerror(-r))
		     : 0;
}

int client_run(struct client *c, struct transfer *list, size_t n, struct mvm_error *err)
{
	int r = run(c, list, n, err);
	for (size_t i = 0; i < n; i++)
		end_try(&list[i]);
	return r;
}
