/* SPDX-License-Identifier: Apache-2.0 */
/* Answers a registry's challenge: with Basic, or with a token of the service that it names. */
#include <errno.h>
#include <string.h>

#include "codec/base64.h"
#include "registry/client.h"
#include "registry/reply.h"

#define TRIES_MAX  4u
#define TIMEOUT_MS 60000L
#define CLIENT_ID  "mvm"

static int set_header(struct client *c, const char *kind, const char *value, struct mvm_error *err)
{
	char *line = str_printf("Authorization: %s %s", kind, value);

	if (!line)
		return mvm_error_oom(err);
	if (c->authorization)
		explicit_bzero(c->authorization, strlen(c->authorization));
	free(c->authorization);
	c->authorization = line;
	c->tokens++;
	return 0;
}

/* USER:PASSWORD in base64. */
static char *basic_value(const struct target *t)
{
	AUTO_FREE char *plain = str_printf("%s:%s", t->user, t->password);

	if (!plain)
		return NULL;
	char *coded = base64_text(plain, strlen(plain));
	explicit_bzero(plain, strlen(plain));
	return coded;
}

static int no_credentials(const struct client *c, struct mvm_error *err)
{
	const char *host = c->target.host;
	int r = mvm_error_set(err, -EACCES, "%s asks for a user name and a password", host);

	return mvm_error_reason(err, r, "registry-login", host);
}

static int use_basic(struct client *c, struct mvm_error *err)
{
	if (!c->target.user)
		return no_credentials(c, err);
	AUTO_FREE char *value = basic_value(&c->target);
	return value ? set_header(c, "Basic", value, err) : mvm_error_oom(err);
}

/* ---- tokens ---- */

static void add_field(struct strbuf *b, CURL *easy, const char *key, const char *value)
{
	char *escaped = curl_easy_escape(easy, value, 0);

	strbuf_addf(b, "%s%s=%s", b->len ? "&" : "", key, escaped ? escaped : "");
	b->failed |= !escaped;
	curl_free(escaped);
}

/* We ask for what we need of our repository, whatever scope the challenge has. */
static void add_fields(struct strbuf *b, CURL *easy, const struct client *c)
{
	AUTO_FREE char *scope = str_printf("repository:%s:pull%s%s", c->target.path,
					   c->target.push ? ",push" : "",
					   c->target.remove ? ",delete" : "");

	if (c->challenge.service[0])
		add_field(b, easy, "service", c->challenge.service);
	if (c->target.path[0])
		add_field(b, easy, "scope", scope ? scope : "");
	b->failed |= !scope;
	if (c->target.identity) {
		add_field(b, easy, "grant_type", "refresh_token");
		add_field(b, easy, "client_id", CLIENT_ID);
		add_field(b, easy, "refresh_token", c->target.identity);
	}
}

static int ask(struct client *c, struct answer_text *a, CURLcode *ret_code, long *ret_status,
	       int64_t *ret_asked_s)
{
	AUTO_DONE(strbuf) fields = { 0 };
	const char *realm = c->challenge.realm;
	struct curl_slist *headers = NULL;
	CURL *easy = curl_easy_init();
	curl_off_t asked_s = 0;
	int r = -ENOMEM;

	if (!easy)
		return r;
	add_fields(&fields, easy, c);
	AUTO_FREE char *url = c->target.identity
				      ? strdup(realm)
				      : str_printf("%s%c%s", realm, strchr(realm, '?') ? '&' : '?',
						   fields.data ? fields.data : "");
	AUTO_FREE char *basic = c->target.user && !c->target.identity ? basic_value(&c->target)
								      : NULL;
	AUTO_FREE char *line = basic ? str_printf("Authorization: Basic %s", basic) : NULL;
	if (line)
		headers = curl_slist_append(NULL, line);
	if (url && !fields.failed && (!c->target.user || c->target.identity || headers)) {
		client_prepare(c, easy, url);
		curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
		curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, c->target.identity ? 0L : 1L);
		curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, TIMEOUT_MS);
		curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, client_on_text);
		curl_easy_setopt(easy, CURLOPT_WRITEDATA, a);
		if (c->target.identity)
			curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, fields.data);
		*ret_code = curl_easy_perform(easy);
		curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, ret_status);
		curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &asked_s);
		*ret_asked_s = asked_s;
		r = 0;
	}
	curl_slist_free_all(headers);
	curl_easy_cleanup(easy);
	return r;
}

static int refused(const struct client *c, long status, const struct answer_text *a,
		   struct mvm_error *err)
{
	char said[REPLY_SAID_SIZE];
	int r;

	reply_said(a->text.data, a->text.len, said);
	if (status != 401 && status != 403 && status != 400)
		return mvm_error_set(err, status == 429 ? -EBUSY : -EREMOTEIO,
				     "the token service of %s answers with HTTP status %ld%s%s",
				     c->target.host, status, said[0] ? ": " : "", said);
	if (!c->target.from)
		return no_credentials(c, err);
	r = mvm_error_set(err, -EACCES, "%s refuses the credentials of '%s'%s%s", c->target.host,
			  c->target.from, said[0] ? ": " : "", said);
	return mvm_error_reason(err, r, "registry-login", c->target.host);
}

static bool is_for_a_moment(CURLcode code, long status)
{
	return code != CURLE_OK || status == 429 || status == 408 ||
	       (status >= 500 && status < 600);
}

static int fetch_token(struct client *c, struct mvm_error *err)
{
	for (unsigned tries = 1;; tries++) {
		AUTO_FREE char *token = NULL;
		struct answer_text a = { 0 };
		CURLcode code = CURLE_OK;
		int64_t asked_s = 0, until = 0;
		long status = 0;

		int r = ask(c, &a, &code, &status, &asked_s);
		if (r < 0)
			r = mvm_error_oom(err);
		else if (a.too_long)
			r = mvm_error_set(err, -EFBIG, "the token service of %s answers too much",
					  c->target.host);
		else if (code == CURLE_OK && status == 200)
			r = reply_token(a.text.data ? a.text.data : "", a.text.len, &token, err);
		else if (tries < TRIES_MAX && is_for_a_moment(code, status) &&
			 client_pause(tries, asked_s, &until) == 0)
			r = 1;
		else if (code != CURLE_OK)
			r = mvm_error_set(err, -EREMOTEIO,
					  "cannot reach the token service of %s: %s",
					  c->target.host, curl_easy_strerror(code));
		else
			r = refused(c, status, &a, err);
		strbuf_done(&a.text);
		if (r <= 0)
			return r < 0 ? r : set_header(c, "Bearer", token, err);
		client_sleep(until);
	}
}

int client_authorize(struct client *c, struct mvm_error *err)
{
	const char *realm = c->challenge.realm;
	bool plain = str_starts(c->target.base, "http:");

	if (!c->challenge.bearer)
		return use_basic(c, err);
	if (c->target.bearer) {
		AUTO_FREE char *token = TAKE_PTR(c->target.bearer); /* there is only this one */
		return set_header(c, "Bearer", token, err);
	}
	if (!str_starts(realm, "https://") && !(plain && str_starts(realm, "http://")))
		return mvm_error_set(err, -EPROTO,
				     "%s names no token service with TLS in its challenge",
				     c->target.host);
	return fetch_token(c, err);
}
