/* SPDX-License-Identifier: Apache-2.0 */
/* Credential helpers of docker's.  The server's name or a JSON object goes in, another comes
 * out. */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/filter.h"
#include "base/str.h"
#include "base/visible.h"
#include "codec/json.h"
#include "pull/credentials.h"

#define PREFIX	   "docker-credential-"
#define ANSWER_MAX 65536u
#define PATIENCE_S 60
#define NOT_FOUND  "credentials not found"

/* Run the program's verb.  Returns its wait status, or -errno with the text. */
static int run(const char *name, const char *verb, const void *in, size_t len, const char *host,
	       const struct mvm_progress *progress, struct strbuf *ret, struct mvm_error *err)
{
	char *const argv[] = { (char *)name, (char *)verb, NULL };
	const int64_t deadline = clock_deadline_ns((int64_t)PATIENCE_S * 1000);

	int r = program_filter(argv, in, len, -1, ANSWER_MAX, deadline, progress, ret);
	if (r == -ECANCELED)
		return mvm_error_set(err, r, "asking %s was cancelled", name);
	if (r >= 0)
		return r;
	/* a missing program is no missing image */
	r = mvm_error_set(err, r == -ENOENT ? -EACCES : r, "cannot run %s for %s: %s", name, host,
			  strerror(-r));
	return mvm_error_hint(err, r,
			      "docker's config.json names this program: install it, or remove its "
			      "name there");
}

static void forget(struct strbuf *b)
{
	if (b->data)
		explicit_bzero(b->data, b->len);
	strbuf_done(b);
}

int credential_program_parse(const char *text, size_t len, struct credentials *ret)
{
	AUTO_FREE char *user = NULL, *secret = NULL;
	AUTO_JSON json_t *doc = NULL;
	struct json_at root;

	if (json_read(text, len, "answer", &doc, NULL) < 0 || !json_is_object(doc))
		return -EPROTO;
	json_root(&root, "answer", doc);
	if (json_get_string(&root, "Username", JSON_REQUIRED, &user, NULL) < 0 ||
	    json_get_string(&root, "Secret", JSON_REQUIRED, &secret, NULL) < 0)
		return -EPROTO;
	if (str_eq(user, "<token>")) {
		ret->identity = TAKE_PTR(secret);
	} else {
		ret->user = TAKE_PTR(user);
		ret->password = TAKE_PTR(secret);
	}
	return 1;
}

int credential_program_ask(const char *program, const char *host,
			   const struct mvm_progress *progress, struct credentials *ret,
			   struct mvm_error *err)
{
	AUTO_FREE char *name = str_printf(PREFIX "%s", program);
	const char *server = credentials_server(host);
	struct strbuf answer = { 0 };

	if (!name)
		return mvm_error_oom(err);
	int status = run(name, "get", server, strlen(server), host, progress, &answer, err);
	int r = status;
	if (status > 0)
		r = answer.data && strstr(answer.data, NOT_FOUND) ? 0 : -EACCES;
	else if (status == 0)
		r = credential_program_parse(answer.data ? answer.data : "", answer.len, ret);
	forget(&answer);
	return r < 0 && status >= 0
		       ? mvm_error_set(err, r, "cannot get credentials for %s: %s %s", host, name,
				       status ? "fails" : "prints no credentials")
		       : r;
}

/* Run a verb that changes something, and hand on what the program says about a failure. */
static int change(const char *program, const char *verb, const char *in, const char *host,
		  const struct mvm_progress *progress, struct mvm_error *err)
{
	AUTO_FREE char *name = str_printf(PREFIX "%s", program);
	AUTO_DONE(strbuf) said = { 0 }, seen = { 0 };

	if (!name || !in)
		return mvm_error_oom(err);
	int r = run(name, verb, in, strlen(in), host, progress, &said, err);
	if (r <= 0)
		return r;
	if (said.data)
		visible_add(&seen, said.data, strcspn(said.data, "\n"), true);
	bool has_words = seen.data && seen.data[0];
	return mvm_error_set(err, -EACCES, "%s cannot %s the credentials of %s%s%.200s", name, verb,
			     host, has_words ? ": " : "", has_words ? seen.data : "");
}

int credential_program_store(const char *program, const char *host, const struct credentials *who,
			     const struct mvm_progress *progress, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	struct json_out out = { 0 };

	json_t *o = json_new(&out);
	json_put_string(&out, o, "ServerURL", credentials_server(host));
	json_put_string(&out, o, "Username", who->user);
	json_put_string(&out, o, "Secret", who->password);
	int r = json_out_text(&out, o, JSON_TEXT_SORTED, &text, err);
	if (r == 0) {
		r = change(program, "store", text, host, progress, err);
		explicit_bzero(text, strlen(text));
	}
	return r;
}

int credential_program_erase(const char *program, const char *host,
			     const struct mvm_progress *progress, struct mvm_error *err)
{
	return change(program, "erase", credentials_server(host), host, progress, err);
}
