/* SPDX-License-Identifier: Apache-2.0 */
/* Judges the end of a try: done, try again, or an error with the user's next step. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/file.h"
#include "registry/client.h"
#include "registry/reply.h"

#define TRIES_MAX    5u
#define ASKED_MAX    2u /* challenges that one transfer answers */
#define RESTARTS_MAX 2u
#define PAUSE_MAX_S  32
#define ASKED_MAX_S  60	    /* Retry-After that is worth waiting for */
#define STEP_BYTES   65536u /* after a try that brought this much, the count of tries starts anew */

int client_pause(unsigned tries, int64_t asked_s, int64_t *ret_ns)
{
	uint16_t chance;

	if (asked_s > ASKED_MAX_S)
		return -EBUSY;
	unsigned doublings = tries < 6 ? tries - (tries > 0) : 5;
	int64_t s = asked_s > 0 ? asked_s : (int64_t)1 << doublings;
	if (s > PAUSE_MAX_S && asked_s <= 0)
		s = PAUSE_MAX_S;
	random_bytes(&chance, sizeof(chance));
	/* half a second to a second of each: many clients must not come back together */
	int64_t ns = asked_s > 0 ? s * NS_PER_S
				 : s * NS_PER_S / 2 + s * (NS_PER_S / 2) / 65536 * chance;
	*ret_ns = clock_now_ns() + ns;
	return 0;
}

void client_sleep(int64_t until_ns)
{
	const struct timespec until = { until_ns / NS_PER_S, until_ns % NS_PER_S };
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static const char *what(const struct transfer *t)
{
	return t->want == WANT_BLOB ? "layer" : "manifest";
}

static int fail(struct transfer *t, int code, struct mvm_error *err, const char *why)
{
	const struct target *to = &t->client->target;

	return mvm_error_set(err, code, "cannot fetch %s %.20s of %s/%s: %s", what(t), t->reference,
			     to->host, to->path, why);
}

void client_note_pause(struct client *c, const char *why, int64_t until_ns)
{
	char text[200];

	int64_t ms = (until_ns - clock_now_ns()) / NS_PER_MS;
	snprintf(text, sizeof(text), "%.60s: %.80s: trying again in %lld.%lld s", c->target.host,
		 why, (long long)(ms / 1000), (long long)(ms % 1000 / 100));
	if (c->on_note && ms >= 100)
		c->on_note(c->arg, text);
}

/* Try again after a pause, unless there were tries enough. */
static int again(struct transfer *t, int code, int64_t asked_s, const char *why,
		 struct mvm_error *err)
{
	if (t->have > t->tried_from && t->have - t->tried_from >= STEP_BYTES)
		t->tries = 1;
	if (t->tries >= TRIES_MAX)
		return fail(t, code, err, why);
	if (client_pause(t->tries, asked_s, &t->not_before_ns) < 0) {
		int r = fail(t, code, err, why);
		return mvm_error_hint(err, r, "the registry asks to come back in %lld s",
				      (long long)asked_s);
	}
	client_note_pause(t->client, why, t->not_before_ns);
	return 0;
}

static int damaged(struct transfer *t, const char *why, struct mvm_error *err)
{
	int r = fail(t, -EBADMSG, err, why);
	return mvm_error_hint(err, r,
			      "the registry, or a proxy before it, sends wrong bytes: try again, "
			      "or tell its operator");
}

/* Begin a blob anew, at once. */
static int from_start(struct transfer *t, const char *why, struct mvm_error *err)
{
	if (++t->restarts > RESTARTS_MAX)
		return damaged(t, why, err);
	int r = transfer_restart(t);
	return r < 0 ? fail(t, r, err, strerror(-r)) : 0;
}

static int judge_problem(struct transfer *t, struct mvm_error *err)
{
	switch (t->problem) {
	case -EFBIG:
		return damaged(t, "the answer is longer than announced", err);
	case -ERANGE:
		return from_start(t, "the answer is another part than asked for", err);
	case -EOPNOTSUPP:
		return fail(t, -EOPNOTSUPP, err, "the registry does not send parts of it");
	case -EMSGSIZE:
		return fail(t, -EPROTO, err, "the registry refuses, with far too many words");
	default:
		return fail(t, t->problem, err, strerror(-t->problem));
	}
}

bool client_is_lost(const struct client *c, CURLcode code)
{
	switch (code) {
	case CURLE_OK:
	case CURLE_WRITE_ERROR: /* by us: too many words */
	case CURLE_ABORTED_BY_CALLBACK:
	case CURLE_TOO_MANY_REDIRECTS:
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_URL_MALFORMAT:
	case CURLE_OUT_OF_MEMORY:
		return false;
	case CURLE_GOT_NOTHING:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
		return true;
	default:
		return c->answered;
	}
}

static bool is_about_trust(CURLcode code)
{
	return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_ISSUER_ERROR ||
	       code == CURLE_SSL_CACERT_BADFILE || code == CURLE_SSL_CERTPROBLEM;
}

int client_hint(const struct target *to, CURLcode code, int r, struct mvm_error *err)
{
	if (is_about_trust(code))
		return mvm_error_hint(err, r,
				      "give its CA in registries.toml: [registry.\"%s\"] ca = "
				      "\"FILE.pem\"",
				      to->host);
	if (code == CURLE_SSL_CONNECT_ERROR)
		return mvm_error_hint(err, r,
				      "if it speaks plain http, set in registries.toml: "
				      "[registry.\"%s\"] insecure = true",
				      to->host);
	return mvm_error_hint(err, r, "check the name, the network and the proxy settings");
}

/* libcurl's error "unsupported protocol". */
static const char *no_protocol(const struct transfer *t)
{
	long status = 0;

	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status == 0)
		return "it does not answer in HTTP";
	return str_starts(t->client->target.base, "http:")
		       ? "it redirects to neither http nor https"
		       : "it redirects to a place without TLS";
}

/* Libcurl could not transfer. */
static int judge_code(struct transfer *t, CURLcode code, struct mvm_error *err)
{
	const struct target *to = &t->client->target;
	const char *why = curl_easy_strerror(code);

	if (is_about_trust(code))
		return client_hint(to, code,
				   fail(t, -EREMOTEIO, err,
					"its certificate is signed by no authority known here"),
				   err);
	if (code == CURLE_UNSUPPORTED_PROTOCOL)
		return fail(t, -EREMOTEIO, err, no_protocol(t));
	if (code == CURLE_TOO_MANY_REDIRECTS)
		return fail(t, -EREMOTEIO, err, "it redirects in a circle");
	if (code == CURLE_OUT_OF_MEMORY) /* of libcurl's own limits, too */
		return fail(t, -EREMOTEIO, err, "a header is too long, or memory is short");
	if (client_is_lost(t->client, code))
		return again(t, -EREMOTEIO, 0, why, err);
	int r = mvm_error_set(err, code == CURLE_OPERATION_TIMEDOUT ? -ETIMEDOUT : -EREMOTEIO,
			      "cannot reach the registry %s: %s", to->host, why);
	return client_hint(to, code, r, err);
}

static int refused(struct transfer *t, const char *said, struct mvm_error *err)
{
	const struct target *to = &t->client->target;
	int r;

	if (to->from) {
		r = mvm_error_set(err, -EACCES, "%s refuses %s with the credentials of '%s'%s%s",
				  to->host, to->path, to->from, said[0] ? ": " : "", said);
		return mvm_error_reason(err, r, "registry-login", to->host);
	}
	r = mvm_error_set(err, -EACCES, "%s refuses %s without credentials%s%s", to->host, to->path,
			  said[0] ? ": " : "", said);
	return mvm_error_reason(err, r, "registry-login", to->host);
}

static int missing(struct transfer *t, const char *said, struct mvm_error *err)
{
	const struct target *to = &t->client->target;
	bool digest = str_starts(t->reference, REPLY_DIGEST_TAG);
	char name[sizeof(err->subject) + 1];

	if (t->want == WANT_BLOB)
		return damaged(t, "the registry does not have it", err);
	int r = mvm_error_set(err, -ENOENT, "%s has no %s '%s' of '%s'%s%s", to->host,
			      digest ? "manifest" : "tag", t->reference, to->path,
			      said[0] ? ": " : "", said);
	snprintf(name, sizeof(name), "%s/%s", to->host, to->path);
	return mvm_error_reason(err, r, "no-tag", name);
}

/* The registry wants to know who asks. */
static int challenged(struct client *c, struct transfer *t, const char *said, struct mvm_error *err)
{
	if (t->tokens != c->tokens)
		return 0; /* another transfer has just got a token */
	if (t->challenge.basic || t->challenge.bearer)
		c->challenge = t->challenge;
	if (++t->asked > ASKED_MAX || !(c->challenge.basic || c->challenge.bearer))
		return refused(t, said, err);
	return client_authorize(c, err);
}

static int judge_status(struct client *c, struct transfer *t, long status, bool redirected,
			int64_t asked_s, struct mvm_error *err)
{
	char said[REPLY_SAID_SIZE], why[64];

	reply_said(t->text.data, redirected ? 0 : t->text.len, said);
	snprintf(why, sizeof(why), "HTTP status %ld", status);
	switch (status) {
	case 400: /* the answer of one registry to a token that is too old */
		if (!redirected && c->authorization && t->asked == 0)
			return challenged(c, t, said, err);
		break;
	case 401:
	case 403:
		if (redirected) /* the URL of a redirect is too old */
			return again(t, -EREMOTEIO, 0, why, err);
		return status == 401 ? challenged(c, t, said, err) : refused(t, said, err);
	case 404:
		if (redirected)
			break;
		return missing(t, said, err);
	case 416:
		if (t->is_part)
			return fail(t, -EOPNOTSUPP, err,
				    "the registry refuses to send parts of it");
		return from_start(t, "it refuses the rest", err);
	case 429: {
		int r = again(t, -EBUSY, asked_s, "too many requests", err);
		return r < 0 && !err->hint[0]
			       ? mvm_error_hint(err, r,
						"try again later, or log in: registries "
						"allow more to known users")
			       : r;
	}
	case 408:
	case 500:
	case 502:
	case 503:
	case 504:
		return again(t, -EREMOTEIO, asked_s, said[0] ? said : why, err);
	default:
		break;
	}
	fail(t, -EREMOTEIO, err, why);
	return said[0] ? mvm_error_more(err, -EREMOTEIO, ": %s", said) : -EREMOTEIO;
}

/* All bytes have come: are they the right ones? */
static int judge_bytes(struct transfer *t, struct mvm_error *err)
{
	struct mvm_digest digest;

	if (t->want == WANT_HEAD) {
		t->digest = t->told;
		t->has_digest = t->has_told;
		return 1;
	}
	if (t->want == WANT_BLOB && t->have < t->size)
		return again(t, -EREMOTEIO, 0, "the connection ended too early", err);
	struct sha256 copy = t->hash;
	sha256_end(&copy, &digest);
	if (t->want == WANT_BLOB && !t->is_part && !digest_equal(&digest, &t->digest))
		return from_start(t, "its bytes do not match its digest", err);
	if (t->want == WANT_MANIFEST && t->has_told && !digest_equal(&digest, &t->told))
		return damaged(t, "its bytes do not match the digest in its header", err);
	if (t->want == WANT_MANIFEST && t->has_digest && !digest_equal(&digest, &t->digest))
		return damaged(t, "its bytes do not match its digest", err);
	t->digest = digest;
	t->has_digest = true;
	return 1;
}

int client_judge(struct client *c, struct transfer *t, CURLcode code, struct mvm_error *err)
{
	curl_off_t asked_s = 0;
	long status = 0, redirects = 0;

	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(t->easy, CURLINFO_REDIRECT_COUNT, &redirects);
	curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &asked_s);
	c->answered |= status != 0;
	if (t->problem)
		return judge_problem(t, err);
	if (code != CURLE_OK)
		return judge_code(t, code, err);
	if (status == 200 || status == 206) {
		if (!t->checked && t->want == WANT_BLOB) /* a good answer without a byte */
			return again(t, -EREMOTEIO, 0, "the answer is empty", err);
		return judge_bytes(t, err);
	}
	return judge_status(c, t, status, redirects > 0, asked_s, err);
}
